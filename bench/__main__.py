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
import time
from pathlib import Path

from bench.suite import compare, results, targets
from bench.suite.page import page
from bench.suite.questions import QUESTIONS
from bench.suite.run import ask

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
        run = ask(names, full=args.full)
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}-{run.which}.json"
        results.save(run, file)
    print("\n" + "\n".join(targets.table(run)))
    if older is not None:
        print("\n" + "\n".join(compare.table(older, run)))
    report = file.with_suffix(".html")
    report.write_text(page(run, older))
    print(f"\nkept in {_near(file)}; to read: {_near(report)}")
    return 1 if any(answer.status for answer in run.answers.values()) else 0


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
