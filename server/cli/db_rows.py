"""`tandem db backfill`, `verify`, `cleanup`, `purge`, `export-user`, `erase-user`: what is in the tables."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import trio

from server.cli.db_output import DONE, LEFT, Progress, age, show
from server.db import backfill as backfills
from server.db import dead_letters, persons, retention, upkeep
from server.db.pool import Database
from server.db.upkeep import Finding


def add_parsers(command: Any) -> None:
    backfill = command("backfill", "give rows of before the last migration their values")
    backfill.add_argument(
        "--recompute", action="store_true", help="also make the summary of every call (call_analytics) anew"
    )
    command("verify", "check every row against the invariants")
    cleanup = command("cleanup", "put wrong rows right")
    cleanup.add_argument("--dry-run", action="store_true", help="only show what is wrong")
    purge = command("purge", "delete calls that have been over for long")
    purge.add_argument("--older-than", type=age, metavar="AGE", required=True, help="such as 90d, 12h, 8w")
    purge.add_argument("--dry-run", action="store_true", help="only count them")
    for name, text in (
        ("export-user", "print all that is held on a person, as JSON"),
        ("erase-user", "take a person out of all rows; calls keep their figures"),
    ):
        person = command(name, text)
        person.add_argument("id", help="the user's id")
        person.add_argument("--guest", action="store_true", help="the id is a guest's")


def _lines(findings: list[Finding]) -> list[str]:
    lines = []
    for one in findings:
        examples = ", ".join(one.examples) + (" …" if one.count > len(one.examples) else "")
        lines += [f"{one.name}: {one.says}", f"    {one.count} in {one.table}: {examples}"]
        lines.append(f"    mended {one.mended}" if one.mended else f"    to do: {one.advice}")
    return lines


async def backfill(args: argparse.Namespace, database: Database) -> int:
    bars: dict[str, Progress] = {}

    def draw(now: backfills.Progress) -> None:
        bars.setdefault(now.table, Progress(f"backfill {now.table}")).update(now.done, now.total)

    done = await backfills.backfill(database, draw, recompute=args.recompute)
    for bar in bars.values():
        bar.close()
    lines = [f"{one.table}: looked at {one.done} rows, changed {one.changed}" for one in done]
    show(args, {"backfilled": done}, lines or ["nothing to do"])
    return DONE


async def verify(args: argparse.Namespace, database: Database) -> int:
    findings = await upkeep.verify(database)
    show(args, {"findings": findings}, _lines(findings) or ["every row is as it must be"])
    return LEFT if findings else DONE


async def cleanup(args: argparse.Namespace, database: Database) -> int:
    if args.dry_run:
        return await verify(args, database)
    findings = await upkeep.cleanup(database)
    left = await upkeep.verify(database)
    lines = _lines([one for one in findings if one.mended]) + _lines(left)
    show(args, {"mended": [one for one in findings if one.mended], "left": left}, lines or ["nothing to do"])
    return LEFT if left else DONE


async def purge(args: argparse.Namespace, database: Database) -> int:
    cutoff = time.time() - args.older_than
    old = await database.run(retention.count_old, cutoff)
    if args.dry_run:
        show(args, {"wouldPurge": old}, [f"would delete {old.calls} calls and at least {old.guests} guests"])
        return DONE
    bar = Progress("purge")
    done = await retention.purge(database, cutoff, lambda now: bar.update(now.calls, old.calls))
    bar.close()
    show(args, {"purged": done}, [f"deleted {done.calls} calls and {done.guests} guests"])
    return DONE


def _spool(args: argparse.Namespace) -> Path:
    return Path(args.data_dir) / "spool"


async def export_user(args: argparse.Namespace, database: Database) -> int:
    """Prints JSON with and without `--json`: that is what the command is for."""
    kind: persons.Kind = "guest" if args.guest else "user"
    held = await database.run(persons.export_person, args.id, kind)
    ids = await database.run(persons.participation_ids, args.id, kind)
    letters = await trio.to_thread.run_sync(dead_letters.naming, _spool(args), args.id, *ids)
    args.json = True
    if held is None and not letters:
        show(args, {kind: None}, [])
        return LEFT
    show(args, {**(held or {kind: None}), "changesSetAside": letters}, [])
    return DONE


async def erase_user(args: argparse.Namespace, database: Database) -> int:
    kind: persons.Kind = "guest" if args.guest else "user"
    ids = await database.run(persons.participation_ids, args.id, kind)
    erased = await database.run(persons.erase_person, args.id, kind, at=time.time())
    letters = await trio.to_thread.run_sync(dead_letters.erase, _spool(args), args.id, *ids)
    if erased is None and not letters:
        show(args, {"erased": None}, [f"nothing is held on {kind} {args.id}"])
        return LEFT
    erased = erased or persons.Erased(0, 0, 0, "absent")
    lines = [
        f"erased from {erased.participations} participations, {erased.calls_initiated} calls made,"
        f" {erased.calls_ended} calls ended, {erased.recordings_made} recordings made, {letters} changes set"
        f" aside; deleted {erased.transcriptions} transcriptions"
    ]
    if erased.heard_in:
        lines.append(
            "recordings of calls that this person was in, for you to decide on: " + ", ".join(erased.heard_in)
        )
    if erased.person_row == "kept":
        lines.append("the row in users is another application's: erase it there")
    show(args, {"erased": erased, "changesSetAside": letters}, lines)
    return LEFT if erased.person_row == "kept" else DONE


COMMANDS = {
    "backfill": backfill,
    "verify": verify,
    "cleanup": cleanup,
    "purge": purge,
    "export-user": export_user,
    "erase-user": erase_user,
}
