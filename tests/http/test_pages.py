from __future__ import annotations

import json

from server.http.exchange import Peer, Request
from server.http.pages import Health, Metrics

LOCAL = Request("GET", "/", [(b"host", b"localhost")], Peer("127.0.0.1", 1, secure=False, loopback=True))
AWAY = Request("GET", "/", [(b"host", b"x")], Peer("192.0.2.1", 1, secure=True, loopback=False))


async def test_health() -> None:
    states = {"media": "ok", "database": "ok"}
    health = Health(
        version="1.2",
        vital={"media": lambda: states["media"]},
        other={"database": lambda: states["database"]},
    )
    answers = []
    for media, database in (("ok", "ok"), ("ok", "unavailable"), ("stopped", "ok")):
        states.update(media=media, database=database)
        response = await health(LOCAL)
        answers.append((response.status, json.loads(response.body)["status"]))
    assert answers == [(200, "ok"), (200, "degraded"), (503, "failed")]
    assert json.loads(response.body) == {
        "status": "failed",
        "version": "1.2",
        "media": "stopped",
        "database": "ok",
    }


async def test_metrics() -> None:
    metrics = Metrics(
        {
            "http": ("counter", lambda: {"requests": 3}),
            "media": ("gauge", lambda: {"verdicts": {"bad-stun": 4}, "name": "ignored", "rate": 1.5}),
        },
        version="1.2",
        token=None,
    )
    body = (await metrics(LOCAL)).body.decode()
    for line in (
        "tandem_http_requests_total 3.0",
        "tandem_media_verdicts_bad_stun 4.0",
        "tandem_media_rate 1.5",
        'tandem_build_info{version="1.2"} 1.0',
    ):
        assert line in body.splitlines()
    assert "process_resident_memory_bytes" in body
    refused = await metrics(AWAY)
    assert refused.status == 403
    assert b"requests" not in refused.body
