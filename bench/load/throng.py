"""Many people in one room, who join as fast as they can, stay, and hear what the server tells.

Threads join them, each one after the other; one more reads what all who have joined are told, so that nobody
is a slow reader. A few of them (the witnesses) keep books of who is present, as a page does; what the others
are told is counted and dropped.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from bench.load.member import Member
from bench.load.plan import Media
from server.rtc.certificate import Certificate

_SCRATCH = 1 << 18
_KEEP_ALIVE_S = 4.0


class Witness(Member):
    """Knows by what it is told who is present."""

    def __init__(self, url: str, certificate: Certificate, media: list[Media], tags: list[int]) -> None:
        super().__init__(url, certificate, media, tags)
        self.present: set[str] = set()
        self.told = 0  # notifications about participants

    def _read(self) -> dict[str, Any]:
        message = super()._read()
        if "result" in message:
            call = message["result"].get("call")
            if call is not None:
                self.present = {one["participantId"] for one in call["participants"]}
            return message
        method, params = message.get("method", ""), message.get("params", {})
        self.told += method.startswith("participant")
        if method == "participant.joined":
            self.present.add(params["participant"]["participantId"])
        elif method == "participant.left":
            self.present.discard(params["participantId"])
        elif method == "participants.changed":
            self.present -= {one["participantId"] for one in params["left"]}
            self.present |= {one["participantId"] for one in params["joined"]}
        return message


class Throng:
    """with Throng(members, "room") as throng: throng.go(16); ...until throng.through...

    `hear` are others, who have joined already.
    """

    def __init__(self, members: Sequence[Member], room: str, *, hear: Sequence[Member] = ()) -> None:
        self.joined: list[Member] = []
        self.failures: list[str] = []
        self.bytes = 0  # told to those who are no witnesses
        self._room = room
        self._waiting = list(reversed(list(enumerate(members))))
        self._count = len(self._waiting)
        self._here: dict[int, Member] = {}  # by the number of the socket
        self._epoll = select.epoll()
        self._over = False
        self._threads: list[threading.Thread] = []
        for one in hear:
            self._admit(one)

    def __enter__(self) -> Self:
        self._start(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        self._over = True
        for thread in self._threads:
            thread.join()
        self._epoll.close()

    @property
    def through(self) -> bool:
        """Everybody has joined, or could not."""
        return len(self.joined) + len(self.failures) == self._count

    def go(self, workers: int) -> None:
        for _ in range(workers):
            self._start(self._join)

    def cut(self, members: Sequence[Member]) -> None:
        """Their connections break, all in one moment."""
        for one in members:
            if one.socket is not None:
                with suppress(OSError):
                    self._epoll.unregister(one.socket.fileno())
                self._here.pop(one.socket.fileno(), None)
        for one in members:
            one.close()

    def _start(self, work: Any) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)

    def _join(self) -> None:
        while self._waiting:
            try:
                number, member = self._waiting.pop()
            except IndexError:  # another thread was faster
                return
            try:
                member.enter(self._room, f"member-{number}")
            except (OSError, RuntimeError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            else:
                self._admit(member)
                self.joined.append(member)

    def _admit(self, member: Member) -> None:
        assert member.socket is not None
        self._here[member.socket.fileno()] = member
        self._epoll.register(member.socket.fileno(), select.EPOLLIN)

    def _listen(self) -> None:
        scratch = bytearray(_SCRATCH)
        alive = time.monotonic()
        while not self._over:
            for fd, _ in self._epoll.poll(0.05):
                member = self._here.get(fd)
                if member is not None:
                    self._hear(member, scratch)
            if time.monotonic() - alive > _KEEP_ALIVE_S:
                alive = time.monotonic()
                for member in list(self._here.values()):
                    with suppress(OSError):
                        member.keep_alive()

    def _hear(self, member: Member, scratch: bytearray) -> None:
        try:
            if isinstance(member, Witness):
                member.catch_up()
                return
            assert member.socket is not None
            size = member.socket.recv_into(scratch, _SCRATCH, socket.MSG_DONTWAIT)
            self.bytes += size
            if not size:
                raise ConnectionError("the server has closed the connection")
        except BlockingIOError:
            return
        except OSError as error:
            if not self._over:
                self.failures.append(f"{type(error).__name__}: {error}")
            assert member.socket is not None
            with suppress(OSError, ValueError):
                self._epoll.unregister(member.socket.fileno())
