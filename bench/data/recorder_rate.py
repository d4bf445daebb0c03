"""How many changes a second does the recorder write?

A backlog is submitted at once and written in order, exactly once, as after an outage: over PostgreSQL's own
socket, and through a proxy that takes 1 ms for each answer. One is of whole calls (people come, switch to the
SFU, mute, leave), the other of what calls mostly have to say while nothing happens: quality reports.
`submit_us` is what a call pays for handing a change over.

    python -m bench.data.recorder_rate [--changes 5000] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from bench.data.playground import ids_of
from bench.report import describe, write
from server.db import changes as c
from server.db.embedded import EmbeddedPostgres
from server.db.migrations import migrate
from server.db.pool import open_database
from server.db.recorder import Recorder
from server.ids import cuid
from tests.harness.database_proxy import database_proxy
from tests.harness.postgres import public_dir

TARGET = 2000  # changes a second
ANSWERS = (0.0, 0.001)  # seconds, of the proxy; 0: without it
_PEOPLE = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--changes", type=int, default=5_000)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    describe()
    rows = trio.run(measure, args.changes)
    for row in rows:
        show(row)
    write(args.json, "data_recorder_rate", rows)
    return 0 if all(row["met"] is not False for row in rows) else 1


def show(row: dict[str, Any]) -> None:
    line = (
        f"{row['what']:>15}, answers after {row['answer_ms']:.0f} ms: {row['changes_per_s']:7,.0f} a second,"
    )
    line += f" {row['cpu_us']:.0f} µs of the server's CPU each, submitted in {row['submit_us']:.0f} µs"
    if row["target"] is not None:
        line += f"; at least {TARGET:,}: {'met' if row['met'] else 'MISSED'}"
    print(line, flush=True)


async def measure(count: int) -> list[dict[str, Any]]:
    with public_dir("tandem-bench-") as folder:
        postgres = EmbeddedPostgres(folder / "data")
        await postgres.start()
        try:
            async with (
                open_database(postgres.dsn, size=1) as database,
                database_proxy(str(postgres.socket_dir / ".s.PGSQL.5432")) as proxy,
            ):
                await migrate(database)
                rows = []
                for answer in ANSWERS:
                    proxy.delay(answer / 2)  # each way
                    url = proxy.url("postgres") if answer else postgres.dsn
                    for what, stream in (("whole calls", lives()), ("quality reports", _reports())):
                        row = await _write(url, folder / f"spool-{answer}-{what[:5]}", stream, count)
                        rows.append({"what": what, "answer_ms": answer * 1000, **row})
                        if what == "whole calls" and not answer:
                            rows[-1] |= {"target": TARGET, "met": row["changes_per_s"] >= TARGET}
                return rows
        finally:
            await postgres.stop()


async def _write(url: str, spool: Path, stream: Iterator[c.Change], count: int) -> dict[str, Any]:
    submitted = list(itertools.islice(stream, count))
    async with open_database(url, size=4) as database, trio.open_nursery() as nursery:
        recorder = Recorder(spool, cuid())
        began = time.perf_counter()
        for change in submitted:
            recorder.submit(change)
        handed_over = time.perf_counter()
        cpu = _cpu()
        nursery.start_soon(recorder.run, database)
        await recorder.flush()
        seconds = time.perf_counter() - handed_over
        used = _cpu() - cpu
        nursery.cancel_scope.cancel()
    stats = recorder.stats()
    recorder.close()
    assert (stats.written, stats.dead_lettered, stats.lost) == (count, 0, 0), stats
    return {
        "changes": count,
        "changes_per_s": count / seconds,
        "cpu_us": used / count * 1e6,
        "submit_us": (handed_over - began) / count * 1e6,
        "target": None,
        "met": None,
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def lives() -> Iterator[c.Change]:
    """Changes of calls from beginning to end, in the proportions of a real call."""
    at = 1_790_000_000.0
    for number in itertools.count():
        call, people = cuid(), [cuid() for _ in range(_PEOPLE)]
        yield c.CallCreated(
            at=at, call_id=call, room_id=f"room-{number % 500}", call_type="VIDEO", status="ACTIVE",
            mode="p2p", initiator_id=None,
        )  # fmt: skip
        yield c.CallStarted(at=at, call_id=call)
        for one in people:
            yield c.ParticipantJoined(
                at=at, participant_id=one, call_id=call, user_id=None, anonymous_id=cuid(), name="Ann",
                role="participant", audio_enabled=True, video_enabled=True,
            )  # fmt: skip
            yield c.ParticipantStatusChanged(at=at, participant_id=one, status="connected")
        yield c.SwitchedToSfu(
            at=at, call_id=call, epoch=1, reason="participant_joined", duration=0.25, sfu_room_id=cuid(),
            sfu_rtp_capabilities={"codecs": [], "headerExtensions": []},
            participants=[ids_of(one) for one in people],
        )  # fmt: skip
        for one in people:
            yield c.ParticipantMedia(at=at, participant_id=one, audio_enabled=False)
            yield c.ParticipantQuality(at=at, participant_id=one, metrics={"rtt": 42.5, "packetLoss": 0.001})
            yield c.ParticipantLeft(at=at, participant_id=one, reason="leave")
        yield c.CallMetricsUpdate(at=at, call_id=call, peak_participants=_PEOPLE)
        yield c.CallEnded(at=at, call_id=call, status="ENDED", reason="empty", ended_by=None)


def _reports() -> Iterator[c.Change]:
    """A large call's people report again and again."""
    at, call, people = 1_790_000_000.0, cuid(), [cuid() for _ in range(200)]
    yield c.CallCreated(
        at=at,
        call_id=call,
        room_id="large",
        call_type="VIDEO",
        status="ACTIVE",
        mode="p2p",
        initiator_id=None,
    )
    for one in people:
        yield c.ParticipantJoined(
            at=at, participant_id=one, call_id=call, user_id=None, anonymous_id=cuid(), name="Ann",
            role="participant", audio_enabled=True, video_enabled=True,
        )  # fmt: skip
    for number, one in enumerate(itertools.cycle(people)):
        yield c.ParticipantQuality(
            at=at + number / 100,
            participant_id=one,
            metrics={"rtt": 42.5, "jitter": 3.25, "packetLoss": 0.001},
        )


if __name__ == "__main__":
    sys.exit(main())
