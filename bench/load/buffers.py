"""Socket buffers that hold what a busy machine delays."""

from __future__ import annotations

import socket

SIZE = 8 << 20
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33


def enlarge(one: socket.socket) -> None:
    """Both buffers to SIZE; for others than root to what net.core.rmem_max and wmem_max let through."""
    for force, ordinary in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            one.setsockopt(socket.SOL_SOCKET, force, SIZE)
        except PermissionError:
            one.setsockopt(socket.SOL_SOCKET, ordinary, SIZE)
