from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.db import spool as spool_module
from server.db.spool import MAGIC, Spool, SpoolDamage, read_segment, records_untrusted, segments
from server.db.writes import Record


def fill(spool: Spool, count: int, size: int = 100, first: int = 1) -> list[Record]:
    records = [Record(n, bytes([n % 256]) * size) for n in range(first, first + count)]
    for record in records:
        assert spool.append(record.n, record.payload)
    return records


def on_disk(directory: Path, stream: str = "s") -> list[Record]:
    return [record for _, path in segments(directory).get(stream, []) for record in read_segment(path)]


def test_what_is_appended_is_on_disk_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "s", segment_bytes=1000)
    records = fill(spool, 50)
    assert on_disk(tmp_path) == records
    assert len(segments(tmp_path)["s"]) > 3
    assert [spool.get(n) for n in (1, 25, 50)] == [
        records[0].payload,
        records[24].payload,
        records[49].payload,
    ]
    assert spool.get(0) is None
    assert spool.get(51) is None
    assert spool.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    spool.sync()
    spool.close()


def test_written_segments_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "s", segment_bytes=1000)
    records = fill(spool, 50)
    spool.drop_through(30)
    left = on_disk(tmp_path)
    assert left[0].n <= 31
    assert left[0].n > 15
    assert left == records[left[0].n - 1 :]
    spool.drop_through(50)
    assert len(segments(tmp_path)["s"]) == 1
    spool.drop_through(50, all_written=True)
    assert segments(tmp_path) == {}
    assert spool.size == 0
    assert fill(spool, 1, first=51) == on_disk(tmp_path)
    spool.close()


def test_a_small_spool_is_empty_when_all_is_written(tmp_path: Path) -> None:
    """One segment may be all that there is room for."""
    spool = Spool(tmp_path, "s", max_bytes=1000)
    n = 0
    while spool.append(n + 1, b"x" * 100):
        n += 1
    spool.drop_through(n - 1)
    assert not spool.append(n + 1, b"x" * 100)
    spool.drop_through(n)
    assert spool.size == 0
    assert spool.append(n + 1, b"x" * 100)
    spool.drop_through(n + 1)  # a short one stays open: files need not come and go with every change
    assert on_disk(tmp_path) == [Record(n + 1, b"x" * 100)]
    spool.close()


def test_it_is_bounded_over_all_streams(tmp_path: Path) -> None:
    old = Spool(tmp_path, "old")
    fill(old, 5)
    old.close()
    spool = Spool(tmp_path, "s", max_bytes=old.size + 1000, segment_bytes=300)
    count = 0
    while spool.append(count + 1, b"x" * 100):
        count += 1
    assert 0 < count < 10
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= old.size + 1000
    assert len(on_disk(tmp_path)) == count
    spool.forget("old")
    assert list(segments(tmp_path)) == ["s"]
    assert spool.append(count + 1, b"x" * 100)
    spool.close()


def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "s")
    records = fill(spool, 3)
    write = os.write
    monkeypatch.setattr(spool_module.os, "write", lambda fd, data: write(fd, data[:20]))
    assert not spool.append(4, b"y" * 100)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(spool_module.os, "write", full)
    assert not spool.append(4, b"y" * 100)
    monkeypatch.setattr(spool_module.os, "write", write)
    assert spool.append(4, b"z")
    assert on_disk(tmp_path) == [*records, Record(4, b"z")]
    assert spool.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    spool.close()


def test_a_disk_that_is_full_for_a_new_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "s")
    monkeypatch.setattr(spool_module.os, "write", lambda fd, data: 3)
    assert not spool.append(1, b"a")
    monkeypatch.undo()
    assert segments(tmp_path) == {}
    assert spool.append(1, b"a")
    assert on_disk(tmp_path) == [Record(1, b"a")]
    spool.close()


def segment(records: list[Record], directory: Path) -> bytes:
    spool = Spool(directory, "x", segment_bytes=1 << 30)
    for record in records:
        spool.append(record.n, record.payload)
    spool.close()
    [path] = [path for _, path in segments(directory)["x"]]
    data = path.read_bytes()
    path.unlink()
    return data


def test_every_cut_leaves_the_records_before_it(tmp_path: Path) -> None:
    records = [Record(n, b"p" * n) for n in range(1, 5)]
    data = segment(records, tmp_path)
    ends = [len(MAGIC)]
    for record in records:
        ends.append(ends[-1] + 16 + len(record.payload))
    path = tmp_path / "cut"
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(1 for end in ends[1:] if end <= length)
        with capture_logs() as logged:
            assert read_segment(path) == records[:whole]
        told = [(line["file"], line["bytes_lost"], line["good_records"]) for line in logged]
        lost = length - max((end for end in ends if end <= length), default=0)
        assert told == ([] if length in ends else [("cut", lost, whole)])


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_every_flipped_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, where: int, flip: int
) -> None:
    records = [Record(n, b"payload" * n) for n in range(1, 5)]
    data = bytearray(segment(records, tmp_path_factory.mktemp("flip")))
    data[where % len(data)] ^= flip
    found: list[Record] = []
    with pytest.raises(SpoolDamage):
        found.extend(records_untrusted(bytes(data)))
    assert found == records[: len(found)]
    assert len(found) < len(records)


def test_strange_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.jsonl").write_text("{}")
    (tmp_path / "s.1.spool").write_text("")
    assert segments(tmp_path) == {}
    assert segments(tmp_path / "missing") == {}


def test_a_sync_leaves_out_no_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were begun since the last one; what could not be flushed is tried again."""
    flushed: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        fsync(fd)
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))

    spool = Spool(tmp_path, "s", segment_bytes=300)
    fill(spool, 20)
    files = [str(path) for _, path in segments(tmp_path)["s"]]
    assert len(files) > 5

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(spool_module.os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        spool.sync()
    monkeypatch.setattr(spool_module.os, "fsync", noted)
    spool.sync()
    assert sorted(flushed) == sorted([*files, str(tmp_path)])
    flushed.clear()
    fill(spool, 1, first=21)
    spool.sync()
    assert flushed == [files[-1], str(tmp_path)]
    fill(spool, 20, first=22)
    spool.drop_through(41)
    flushed.clear()
    spool.sync()
    assert len(flushed) == 2  # what was removed needs no flush
    spool.close()
