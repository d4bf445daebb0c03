"""The changes of one server process on disk, in order, until PostgreSQL has them.

A stream is a row of segment files `<stream>.<first number>.spool`. A segment is the magic followed by
records: length, CRC-32 and number (little endian: 4, 4 and 8 bytes), then the payload; the CRC covers number
and payload. A segment that was cut short by a crash is good up to the damage.

Appending writes to the page cache at once, which survives the death of the process; `sync` is for the death
of the machine, and may run in another thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import structlog

from server.db.writes import Record

log = structlog.get_logger("tandem.recorder")

MAGIC = b"TANDEM1\n"
_HEADER = struct.Struct("<IIQ")
_NUMBER = struct.Struct("<Q")
_FILE = re.compile(r"([a-z0-9]+)\.(\d{16})\.spool")
SEGMENT_BYTES = 1 << 20
MAX_BYTES = 256 << 20


class SpoolDamage(Exception):
    """The bytes of a segment are not what was written; `offset` is where the good part ends."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.offset = offset


def _crc(n: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_NUMBER.pack(n)))


def records_untrusted(data: bytes) -> Iterator[Record]:
    """The records of a segment; raises `SpoolDamage` where they cease to be whole."""
    if data[: len(MAGIC)] != MAGIC:
        raise SpoolDamage(0, "no spool segment")
    offset = len(MAGIC)
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise SpoolDamage(offset, "a cut header")
        length, crc, n = _HEADER.unpack_from(data, offset)
        payload = data[offset + _HEADER.size : offset + _HEADER.size + length]
        if len(payload) != length:
            raise SpoolDamage(offset, "a cut record")
        if _crc(n, payload) != crc:
            raise SpoolDamage(offset, "a wrong checksum")
        yield Record(n, payload)
        offset += _HEADER.size + length


def segments(directory: Path) -> dict[str, list[tuple[int, Path]]]:
    """The streams in a directory, oldest first, each with its segments' first numbers and paths in order."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(directory.iterdir()) if directory.exists() else []:
        match = _FILE.fullmatch(path.name)
        if match is not None:
            found.setdefault(match[1], []).append((int(match[2]), path))
    return found


class Spool:
    """The stream of this process: one writer, and the same thread reads. `max_bytes` bounds the directory,
    other streams' segments included."""

    def __init__(
        self,
        directory: Path,
        stream: str,
        *,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._stream = stream
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segments: list[tuple[int, Path]] = []
        self._fd = -1
        self._open_size = 0  # of the open segment
        self._newest = 0  # number of the record appended last
        self._size_all = sum(path.stat().st_size for row in segments(directory).values() for _, path in row)
        self._dirty: deque[Path] = deque()  # segments with something that no `sync` has seen
        self._cached: tuple[Path, int, dict[int, bytes]] | None = None

    @property
    def size(self) -> int:
        """The size of all segments in the directory."""
        return self._size_all

    def append(self, n: int, payload: bytes) -> bool:
        """Writes a record; False if the spool is full or the disk refuses, and then nothing was written."""
        record = _HEADER.pack(len(payload), _crc(n, payload), n) + payload
        if self._size_all + len(record) + len(MAGIC) > self._max_bytes:
            return False
        try:
            if self._fd < 0 or self._open_size >= self._segment_bytes:
                self._open(n)
            written = os.write(self._fd, record)
        except OSError:
            return False
        if written != len(record):
            self._undo()
            return False
        self._open_size += written
        self._newest = n
        self._size_all += written
        # Marked after the write: whoever takes the mark away meanwhile flushes this record too.
        path = self._segments[-1][1]
        if not self._dirty or self._dirty[-1] != path:
            self._dirty.append(path)
        return True

    def get(self, n: int) -> bytes | None:
        """The payload of record `n`, if this stream's segments have it."""
        position = bisect_right(self._segments, n, key=lambda one: one[0]) - 1
        if position < 0:
            return None
        path = self._segments[position][1]
        try:
            size = path.stat().st_size
            if self._cached is None or self._cached[:2] != (path, size):
                self._cached = (path, size, {r.n: r.payload for r in read_segment(path)})
        except OSError:
            return None
        return self._cached[2].get(n)

    def drop_through(self, n: int, *, all_written: bool = False) -> None:
        """Removes the segments that hold nothing above `n`; the open one only when it has grown, or if
        `all_written`."""
        while len(self._segments) > 1 and self._segments[1][0] <= n + 1:
            self._remove(self._segments.pop(0)[1])
        grown = self._open_size >= min(self._segment_bytes, self._max_bytes // 4)
        if (all_written or (grown and n >= self._newest)) and self._segments:
            self._close()
            self._remove(self._segments.pop(0)[1])

    def forget(self, stream: str) -> None:
        """Removes another stream, when all of it is in the database."""
        for _, path in segments(self._directory).get(stream, []):
            self._remove(path)

    def sync(self) -> None:
        """Flushes the segments and the directory to the disk. May run in another thread than the rest.

        Raises `OSError`; what was not flushed is tried again with the next call.
        """
        while self._dirty:
            path = self._dirty.popleft()
            try:
                with contextlib.suppress(FileNotFoundError):  # written and removed meanwhile
                    _flush(path)
            except OSError:
                self._dirty.appendleft(path)
                raise
        _flush(self._directory)

    def close(self) -> None:
        self._close()

    def _open(self, n: int) -> None:
        self._close()
        path = self._directory / f"{self._stream}.{n:016}.spool"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments.append((n, path))
        self._open_size = 0
        if os.write(self._fd, MAGIC) != len(MAGIC):
            self._close()
            self._segments.pop()
            path.unlink(missing_ok=True)
            raise OSError("the disk is full")
        self._open_size = len(MAGIC)
        self._size_all += len(MAGIC)

    def _undo(self) -> None:
        """Takes a half-written record back; if that fails too, the next record begins a new segment."""
        try:
            os.ftruncate(self._fd, self._open_size)
        except OSError:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(ValueError, IndexError):  # flushed, or being flushed
            self._dirty.remove(path)
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            self._size_all = max(0, self._size_all - size)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_segment(path: Path) -> list[Record]:
    """The good records of a segment, up to the first damage, which is logged."""
    found: list[Record] = []
    data = path.read_bytes()
    try:
        for record in records_untrusted(data):
            found.append(record)
    except SpoolDamage as damage:
        log.warning(
            "a spool file is damaged, as by a crash in the middle of a write: what follows is lost",
            file=path.name,
            damage=str(damage),
            bytes_lost=len(data) - damage.offset,
            good_records=len(found),
        )
    return found
