"""Calls in lists have all their columns, and what routers can do is read once where it is the same."""

from __future__ import annotations

from typing import Any

from server.db.connection import Connection
from server.db.pool import Database
from server.db.queries import active_sfu_calls, call_history, create_call_session
from server.db.queries.capabilities import capabilities_of
from server.db.queries.listing import CallFilter, list_calls

OPUS: dict[str, Any] = {"codecs": [{"mimeType": "audio/opus", "clockRate": 48000, "channels": 2}] * 40}
VP8: dict[str, Any] = {"codecs": [{"mimeType": "video/VP8", "clockRate": 90000}]}


async def _make(connection: Connection, call_id: str, can: dict[str, Any] | None) -> None:
    mode: Any = "p2p" if can is None else "sfu"
    await create_call_session(
        connection, call_id, room_id="r", call_type="VIDEO", status="ACTIVE", mode=mode,
        sfu_room_id=f"{call_id}-router", sfu_rtp_capabilities=can, at=1_760_000_000.0,
    )  # fmt: skip


async def _columns(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'call_sessions'::regclass AND attnum > 0"
        " AND NOT attisdropped"
    )
    return {row["attname"] for row in rows}


async def test_each_call_gets_its_own(db: Database) -> None:
    said = {"a": OPUS, "b": VP8, "c": OPUS, "d": None, "e": VP8, "f": {"codecs": []}}
    for call_id, can in said.items():
        await db.run(_make, call_id, can)
    assert await db.run(capabilities_of, [*said, "nobody"]) == {
        k: v for k, v in said.items() if v is not None
    }
    assert await db.run(capabilities_of, ["d"]) == {}
    live = {call["id"]: call["sfuRtpCapabilities"] for call in await db.run(active_sfu_calls)}
    assert live == {k: v for k, v in said.items() if v is not None}


async def test_equal_ones_are_one(db: Database) -> None:
    for call_id in "abc":
        await db.run(_make, call_id, OPUS)
    found = await db.run(capabilities_of, list("abc"))
    assert found["a"] is found["b"] is found["c"]


async def test_no_column_is_forgotten(db: Database) -> None:
    await db.run(_make, "a", OPUS)
    columns = await db.run(_columns)
    [live] = await db.run(active_sfu_calls)
    assert set(live) == columns | {"participants"}
    [past] = await db.run(call_history, "r", status=None)
    assert set(past) == columns | {"participants"}
    assert past["sfuRtpCapabilities"] == OPUS
    [listed] = await db.run(list_calls, CallFilter(), limit=5)
    assert set(listed) == columns - {"sfuRtpCapabilities"} | {"participants"}
