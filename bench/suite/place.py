"""What a run needs of the machine first: nobody else who measures, and room for the servers' data."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from bench.unusable import Unusable

_NAME = "tandem-bench"
_LEAST_FREE = 1 << 30  # bytes: a PostgreSQL for each server, a filled one for `data_access`


@contextmanager
def alone(name: str = _NAME) -> Iterator[None]:
    """Unusable where another run on this machine is inside: each would measure the other.

    An abstract Unix socket of that name is held, which ends with the process however that ends.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        try:
            held.bind(f"\0{name}")
        except OSError as error:
            raise Unusable("another run of the suite is under way on this machine") from error
        yield


def room_to_measure(least: int = _LEAST_FREE) -> None:
    """Unusable where the folder for temporary files is nearly full."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < least:
        raise Unusable(
            f"{folder} has {free >> 20} MB left, where {least >> 20} are wanted for servers and their data; "
            "TMPDIR names another folder"
        )
