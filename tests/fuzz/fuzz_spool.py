"""Spool segments and the changes in them: whatever is on the disk is read, or refused as damage."""

from __future__ import annotations

import contextlib
import struct
import zlib

from server.db.changes import CallStarted, ParticipantMedia
from server.db.errors import DatabaseRefused
from server.db.spool import MAGIC, SpoolDamage, records_untrusted
from server.db.writes import decode_change, encode_change


def _segment(*payloads: bytes) -> bytes:
    data = MAGIC
    for n, payload in enumerate(payloads, 1):
        number = struct.pack("<Q", n)
        data += struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(number))) + number + payload
    return data


SEEDS = [
    _segment(
        encode_change(CallStarted(at=1.0, call_id="c")),
        encode_change(ParticipantMedia(at=2.0, participant_id="p", audio_enabled=True)),
    ),
    encode_change(CallStarted(at=1.0, call_id="c")),
]


def fuzz_one(data: bytes) -> None:
    with contextlib.suppress(SpoolDamage):
        for record in records_untrusted(data):
            _decode(record.payload)
    _decode(data)


def _decode(payload: bytes) -> None:
    with contextlib.suppress(DatabaseRefused):
        decode_change(payload)
