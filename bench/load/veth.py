"""A second network namespace behind a veth pair, where the load's media sockets are: another host.

The server, its signaling and this program stay on the near side. A thread changes sides only while it makes
a socket, which then belongs to where it was made. What is sent is received by the same core's softirq, so
that the kernel's cost of receiving is the sender's too.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from bench.load import namespace

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_far_side: int | None = None  # a descriptor of the other namespace


def prepare() -> None:
    """Instead of namespace.prepare(). The other side ends with this program."""
    global _far_side
    # It ends when its standard input does.
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(b"here\n")
    holder.stdin.flush()
    holder.stdout.readline()
    _far_side = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespace.ip("link", "set", "lo", "up")
    namespace.ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(holder.pid))
    namespace.ip("address", "add", f"{namespace.SERVER}/24", "dev", "near")
    namespace.ip("link", "set", "near", "up")
    with where_receivers_are():
        namespace.ip("link", "set", "lo", "up")
        namespace.ip("address", "add", f"{namespace.WITNESS}/24", "dev", "far")
        namespace.ip("link", "set", "far", "up")
        namespace.ip("route", "add", "local", namespace.SUBSCRIBERS, "dev", "lo")
    namespace.ip("route", "add", namespace.SUBSCRIBERS, "via", namespace.WITNESS)


def where_receivers_are() -> AbstractContextManager[None]:
    """Sockets that this thread makes inside are on the far side; nothing changes where there is none."""
    return nullcontext() if _far_side is None else _entered(_far_side)


@contextmanager
def _entered(side: int) -> Iterator[None]:
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(side)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(side: int) -> None:
    if _libc.setns(side, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter the other network namespace")
