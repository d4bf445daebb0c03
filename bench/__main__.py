"""The suite: asks its questions, holds the figures against the targets, keeps them and draws them.

python -m bench                    the quick set, under two minutes
python -m bench --full             every size, under fifteen minutes
python -m bench joins memory       these questions only
python -m bench --compare OLD.json today's figures divided by older ones
python -m bench --report RUN.json  the report of a run that was kept, asking nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.load.made_data import made_once
from bench.suite import compare, results, targets
from bench.suite.page import page
from bench.suite.place import alone, room_to_measure
from bench.suite.questions import QUESTIONS
from bench.suite.results import Run
from bench.suite.run import ask

_STOPPED = 130  # as shells have it for Ctrl-C
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)}")
    parser.add_argument("--full", action="store_true", help="minutes instead of seconds")
    parser.add_argument("--compare", metavar="OLD.json", type=Path, help="a run that was kept")
    parser.add_argument("--report", metavar="RUN.json", type=Path, help="only draw this run")
    args = parser.parse_args()
    if unknown := set(args.names) - QUESTIONS.keys():
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    try:
        older = results.load(args.compare) if args.compare else None
        kept = results.load(args.report) if args.report else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if kept is not None:
        run, file = kept, args.report
    else:
        names = args.names or [one.name for one in QUESTIONS.values() if args.full or one.quick is not None]
        with alone():
            room_to_measure()
            import bench.native  # noqa: F401 - compiles itself, once for all questions

            with made_once():
                run = ask(names, full=args.full)
        file = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}-{run.which}.json"
    print("\n" + "\n".join(targets.table(run)))
    if older is not None:
        print("\n" + "\n".join(compare.table(older, run)))
    try:
        report = keep(run, older, file, drawn_only=kept is not None)
    except OSError as error:
        print(f"\nnot kept: {error}", file=sys.stderr)
        return 1
    kept_in = f"kept in {_near(report.with_suffix('.json'))}; " if kept is None else ""
    print(f"\n{kept_in}to read: {_near(report)}")
    if run.stopped:
        return _STOPPED
    return 1 if any(answer.status for answer in run.answers.values()) else 0


def keep(run: Run, older: Run | None, file: Path, *, drawn_only: bool) -> Path:
    """The report beside `file`, or, where nothing can be written, both in the folder of temporary files."""
    for place in (file, Path(tempfile.gettempdir()) / file.name):
        try:
            place.parent.mkdir(exist_ok=True)
            if not drawn_only:
                results.save(run, place)
            report = place.with_suffix(".html")
            report.write_text(page(run, older))
            return report
        except OSError as error:
            print(f"\ncannot be kept in {place.parent}: {error.strerror}", file=sys.stderr)
            failed = error
    raise failed


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
