"""`tandem`: one command with a sub-command per task.

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from server.cli import bench, doctor, serve, token
from server.cli import version as version_command
from server.cli.settings import add_settings_everywhere, settings_from
from server.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    from server.cli import db

    parser = argparse.ArgumentParser(
        prog="tandem", description="A self-hosted video-call server.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (serve, token, doctor, bench, version_command):
        module.add_parser(commands)
    db.add_parser(commands)
    add_settings_everywhere(commands.choices["db"])
    commands.choices["db"].set_defaults(run=_run_db)
    return parser


def _run_db(args: argparse.Namespace) -> int:
    from server.cli import db

    config = settings_from(args)
    args.data_dir, args.database_url = config.data_dir, config.database.url
    return db.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[:1] == ["bench"]:
            return bench.run(words[1:])
        args = build_parser().parse_args(words)
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except ConfigError as error:
        print(f"tandem: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tandem … | head`
        return 1
