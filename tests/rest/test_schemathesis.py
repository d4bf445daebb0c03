"""The API does what its OpenAPI document says, and nothing that it does not say: asked by schemathesis, which
makes up requests from the document, right ones and wrong ones, and holds the answers against it."""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from server.db.pool import open_database
from server.rest.openapi import document
from server.rest.routes import OPERATIONS
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens
from tests.harness.postgres import TestCluster, public_dir
from tests.harness.server_process import ServerProcess
from tests.rest import rows

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SECRET = "a secret of the tests, known to nobody else"
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.positive_data_acceptance,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.ignored_auth,
    schemathesis.checks.not_a_server_error,
]
SCHEMA = schemathesis.openapi.from_dict(document("test"), config=SchemathesisConfig(seed=7))
# What there is in the rows.
THERE = {
    "callId": [rows.FULL, rows.FULL, rows.SFU],
    "participantId": [f"{rows.FULL}-ann"],
    "roomId": [rows.ROOM],
    "userId": ["ann", "bob"],
    "sfuRoomId": [f"router-{rows.SFU}"],
    "transportId": [f"s-{rows.SFU}-bob"],
    "producerId": [f"a-{rows.SFU}-bob"],
}


@pytest.fixture(scope="module")
def server(cluster: TestCluster) -> Iterator[ServerProcess]:
    async def prepare() -> str:
        url = await cluster.fresh()
        async with open_database(url, size=4) as db:
            await rows.write(db)
        return url

    url = trio.run(prepare)
    generous = [
        f"auth.secret={SECRET}",
        "rest.requests_per_s=100000",
        "rest.request_burst=1000000",
        "call.max_rooms=100000",
    ]
    flags = [flag for one in generous for flag in ("--set", one)]
    with public_dir() as folder:
        server = ServerProcess(folder / "data", "--database-url", url, *flags)
        server.start()
        yield server
        server.stop()


ANSWERS: dict[str, set[int]] = collections.defaultdict(set)  # status codes by operation
_keys, _rights = itertools.count(1), itertools.count(1)


@SCHEMA.auth(cache_by_key=None, refresh_interval=None)
class Admin:
    """A token that may do everything."""

    token = Tokens(AuthSettings(), secret=SECRET).mint(
        room="*", user_id=None, name="", can=["admin"], ttl_s=86_400, now=time.time()
    )

    def get(self, case: Any, context: Any) -> str:
        return self.token

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


def as_people_ask(case: Any) -> None:
    """Right requests are about what there is, three times out of four; a key is used once."""
    if isinstance((case.headers or {}).get("Idempotency-Key"), str):
        case.headers["Idempotency-Key"] += str(next(_keys))
    if case.meta.generation.mode.is_positive and (n := next(_rights)) % 4:
        for name in case.path_parameters or {}:
            case.path_parameters[name] = THERE[name][n % len(THERE[name])]


@SCHEMA.parametrize()
@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_is_as_described(case: Any, server: ServerProcess) -> None:
    as_people_ask(case)
    response = case.call_and_validate(base_url=server.url.rstrip("/"), checks=CHECKS)
    ANSWERS[case.operation.definition.raw["operationId"]].add(response.status_code)


def test_every_operation_was_reached(server: ServerProcess) -> None:
    """Else the answers were held against nothing."""
    if set(ANSWERS) != {one.id for one in OPERATIONS}:
        pytest.skip("only some operations were asked")
    unreached = {one.id for one in OPERATIONS if one.status not in ANSWERS[one.id]}
    assert unreached == {"removeParticipant"}  # needs people in a live call: test_api.py has them
