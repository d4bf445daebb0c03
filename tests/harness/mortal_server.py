"""`python -m tests.harness.mortal_server serve …`: the server, which dies of SIGKILL at a chosen point.

`TANDEM_TEST_DEATH=<point>:<count>[:<bytes>]` names the point; it dies at the `count`th time it comes there
after SIGUSR1. Points:

- `write`: in the middle of a write to the spool, after `bytes` bytes of it
- `written`: a change is in the spool; nobody has been told anything yet
- `sent`: a batch is about to be written to PostgreSQL
- `committed`: PostgreSQL has committed a batch, and this process does not know yet
- `dropped`: a spool file has just been removed

`TANDEM_TEST_MEMORY` is the number of bytes that the recorder keeps in memory, `TANDEM_TEST_PLANT` one of the
bugs in `tests.faults.planted`.
"""

from __future__ import annotations

import os
import signal
import sys
import types
from typing import Any

from server.db import recorder, spool
from server.db.recorder import Recorder
from server.db.spool import Spool

POINTS = ("write", "written", "sent", "committed", "dropped")


class Death:
    def __init__(self, told: str) -> None:
        self.point, count, *rest = told.split(":")
        self.left = int(count)
        self.bytes = int(rest[0]) if rest else 0
        self.armed = False
        signal.signal(signal.SIGUSR1, self._arm)

    def _arm(self, *_: object) -> None:
        self.armed = True

    def near(self, point: str) -> bool:
        """Whether this is the time."""
        if not self.armed or point != self.point:
            return False
        self.left -= 1
        return self.left <= 0

    def at(self, point: str) -> None:
        if self.near(point):
            self.strike()

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


def expose(death: Death) -> None:
    """Lets the spool and the recorder pass by the points."""

    def write(fd: int, data: bytes) -> int:
        if len(data) > len(spool.MAGIC) and death.near("write"):
            os.write(fd, data[: death.bytes % len(data)])
            death.strike()
        return os.write(fd, data)

    watched: Any = types.SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})
    watched.write = write
    spool.os = watched  # type: ignore[attr-defined]

    append, remove, advance, apply_batch = (
        Spool.append,
        Spool._remove,
        Recorder._advance,
        recorder.apply_batch,
    )

    def appending(self: Spool, n: int, payload: bytes) -> bool:
        kept = append(self, n, payload)
        death.at("written")
        return kept

    def removing(self: Spool, path: Any) -> None:
        remove(self, path)
        death.at("dropped")

    def advancing(self: Recorder, n: int) -> None:
        death.at("committed")
        advance(self, n)

    async def applying(*args: Any) -> int:
        death.at("sent")
        return await apply_batch(*args)

    Spool.append, Spool._remove = appending, removing  # type: ignore[method-assign]
    Recorder._advance = advancing  # type: ignore[method-assign]
    recorder.apply_batch = applying  # type: ignore[assignment]
    Spool.__init__.__kwdefaults__["segment_bytes"] = 4096  # so that files come and go


if __name__ == "__main__":
    if "TANDEM_TEST_PLANT" in os.environ:
        import pytest

        from tests.faults import planted

        getattr(planted, os.environ["TANDEM_TEST_PLANT"])(pytest.MonkeyPatch())
    if "TANDEM_TEST_DEATH" in os.environ:
        expose(Death(os.environ["TANDEM_TEST_DEATH"]))
    recorder.MEMORY_BYTES = int(os.environ.get("TANDEM_TEST_MEMORY", recorder.MEMORY_BYTES))
    from server.cli.main import main

    sys.exit(main())
