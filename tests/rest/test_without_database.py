"""PostgreSQL is away: the records say so in time, live calls go on being opened, seen and ended, and the rows
are right once it is back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from pytest_trio import trio_fixture

from tests.harness.database_proxy import DatabaseProxy, database_proxy
from tests.harness.postgres import TestCluster
from tests.rest import rows
from tests.rest.house import House, serving, until

TIMEOUT_S = 0.4
READS = [
    "calls",
    f"calls/{rows.FULL}",
    f"calls/{rows.FULL}/metrics",
    "rooms/team/calls",
    "statistics/calls",
    "users/ann/export",
]


@trio_fixture
async def proxied(
    cluster: TestCluster, url: str, data_dir: Path
) -> AsyncIterator[tuple[House, DatabaseProxy]]:
    name = url.split("@/")[1].split("?")[0]
    async with database_proxy(str(cluster.postgres.socket_dir / ".s.PGSQL.5432")) as proxy:
        settings = ("rest.timeout_s", str(TIMEOUT_S))
        async with serving(data_dir, proxy.url(name), settings) as house:
            yield house, proxy
            proxy.heal()


@pytest.mark.parametrize("fault", [DatabaseProxy.refuse, DatabaseProxy.black_hole])
async def test_calls_go_on(
    proxied: tuple[House, DatabaseProxy], fault: Callable[[DatabaseProxy], None]
) -> None:
    house, proxy = proxied
    admin = house.token("admin")
    body = {"roomId": "r", "initiatorId": "ann"}
    before = (await house.ask("POST", "calls", body, token=admin)).body["call"]
    fault(proxy)
    started = time.monotonic()
    for path in READS:
        answer = await house.ask("GET", path, token=admin)
        assert (answer.status, answer.code) == (503, "database_away")
        assert int(answer.headers["retry-after"]) >= 1
        assert "postgres" not in str(answer.body).lower()
    assert time.monotonic() - started < len(READS) * (TIMEOUT_S + 0.5)
    async with house.person("bob") as bob:
        await bob.request("call.join", {"roomId": "r"})
        seen = await house.ask("GET", f"calls/{before['id']}", token=admin)
        assert (seen.status, seen.body["stored"], seen.body["status"]) == (200, False, "ACTIVE")
        assert [one["userId"] for one in seen.body["live"]["participants"]] == ["bob"]
        assert len((await house.ask("GET", "live-calls", token=admin)).body["calls"]) == 1
        ended = await house.ask("POST", f"calls/{before['id']}/end", {"reason": "over"}, token=admin)
        assert (ended.status, ended.body["ended"]) == (200, True)
        assert (await until(bob, "call.ended"))["reason"] == "over"
    key = {"idempotency_key": "k"}
    during = await house.ask("POST", "calls", body | {"roomId": "r2"}, token=admin, **key)
    again = await house.ask("POST", "calls", body | {"roomId": "r2"}, token=admin, **key)
    assert (during.status, during.body["call"]["stored"]) == (201, False)
    assert again.body["call"]["id"] == during.body["call"]["id"]
    assert time.monotonic() - started < 12
    proxy.heal()
    stored = False
    with trio.fail_after(20):
        while not stored:
            answer = await house.ask("GET", f"calls/{during.body['call']['id']}", token=admin)
            stored = answer.body["stored"]
    seen = await house.ask("GET", f"calls/{before['id']}", token=admin)
    assert (seen.body["status"], seen.body["endReason"]) == ("ENDED", "over")
    assert [one["user"]["id"] for one in seen.body["participants"]] == ["bob"]
