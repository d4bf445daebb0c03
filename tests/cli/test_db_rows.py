"""`tandem db verify`, `cleanup`, `purge`, `export-user`, `erase-user` as an admin runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from server.db import dead_letters
from tests.cli.test_db import tandem_db
from tests.harness.postgres import TestCluster, psql
from tests.harness.postgres import test_cluster as start_cluster

ROWS = """
INSERT INTO users (id, name) VALUES ('ann', 'Ann'), ('ben', 'Ben'); INSERT INTO chat_rooms (id) VALUES ('r');
INSERT INTO call_sessions (id, "roomId", "callType", status, "createdAt", "startedAt", "endedAt", duration)
VALUES ('old', 'r', 'VIDEO', 'ENDED', '2025-01-01 10:00Z', '2025-01-01 10:00Z', '2025-01-01 10:02Z', 120),
       ('new', 'r', 'VIDEO', 'ACTIVE', now(), now(), NULL, NULL);
INSERT INTO call_participants (id, "callSessionId", "userId", "leftAt", status) VALUES
    ('p', 'old', 'ann', now(), 'left'), ('q', 'new', 'ben', NULL, 'connected');
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running


@pytest.fixture
def url(cluster: TestCluster) -> str:
    url: str = trio.run(cluster.fresh)
    psql(url, ROWS)
    return url


class Admin:
    def __init__(self, data_dir: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir, self._url, self._capsys = data_dir, url, capsys
        (data_dir / "spool").mkdir()

    def text(self, *argv: str) -> tuple[int, str]:
        code = tandem_db(self.data_dir, *argv, url=self._url)
        return code, self._capsys.readouterr().out.rstrip("\n")

    def json(self, *argv: str) -> tuple[int, Any]:
        code, text = self.text(*argv, "--json")
        return code, json.loads(text)


@pytest.fixture
def admin(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> Admin:
    return Admin(tmp_path, url, capsys)


def test_verify_and_cleanup(admin: Admin, url: str) -> None:
    assert admin.text("verify") == (0, "every row is as it must be")
    assert admin.json("verify") == (0, {"findings": []})
    assert admin.text("cleanup") == (0, "nothing to do")

    psql(url, "UPDATE call_sessions SET \"sfuRoomId\" = 'x' WHERE id = 'new'")
    code, text = admin.text("verify")
    assert code == 1
    assert text.splitlines() == [
        "p2p_call_with_sfu_data: a call in P2P mode with a router or RTP capabilities",
        "    1 in call_sessions: new",
        "    to do: run `tandem db cleanup`",
    ]
    code, data = admin.json("cleanup", "--dry-run")
    assert (code, data["findings"][0]["count"], data["findings"][0]["mendable"]) == (1, 1, True)
    assert psql(url, "SELECT \"sfuRoomId\" FROM call_sessions WHERE id = 'new'") == "x"
    code, data = admin.json("cleanup")
    assert (code, [one["mended"] for one in data["mended"]], data["left"]) == (0, [1], [])
    assert admin.text("verify")[0] == 0

    psql(url, "UPDATE call_sessions SET \"endReason\" = 'x' WHERE id = 'new'")
    code, text = admin.text("cleanup")
    assert code == 1
    assert "to do: if the call is over" in text


def test_backfill(admin: Admin, url: str) -> None:
    psql(
        url,
        'UPDATE call_sessions SET "createdAt" ='
        " (SELECT since FROM schema_backfills LIMIT 1) WHERE id = 'old'",
    )
    assert admin.json("backfill") == (
        0,
        {
            "backfilled": [
                {"table": "call_sessions", "done": 2, "changed": 1, "total": 2},
                {"table": "call_participants", "done": 2, "changed": 0, "total": 2},
                {"table": "call_analytics", "done": 1, "changed": 1, "total": 1},
            ]
        },
    )
    assert psql(url, 'SELECT "createdAt" = "startedAt" FROM call_sessions WHERE id = \'old\'') == "t"
    assert admin.text("backfill") == (0, "nothing to do")
    again = admin.text("backfill", "--recompute")
    assert again == (0, "call_analytics: looked at 1 rows, changed 1")


def test_purge(admin: Admin, url: str) -> None:
    assert admin.text("purge", "--older-than", "90d", "--dry-run") == (
        0,
        "would delete 1 calls and at least 0 guests",
    )
    assert psql(url, "SELECT count(*) FROM call_sessions") == "2"
    assert admin.json("purge", "--older-than", "90d") == (0, {"purged": {"calls": 1, "guests": 0}})
    assert psql(url, "SELECT id FROM call_sessions") == "new"


@pytest.mark.parametrize("age", ["90", "0d", "-1d", "d", "1y", "9999999d"])
def test_ages(admin: Admin, age: str) -> None:
    with pytest.raises(SystemExit) as caught:
        admin.text("purge", "--older-than", age)
    assert caught.value.code == 2


def test_a_person(admin: Admin, url: str) -> None:
    spool = admin.data_dir / "spool"
    dead_letters.append(spool, {"n": 1, "change": {"user_id": "ann"}})
    dead_letters.append(spool, {"n": 2, "change": {"user_id": "ben"}})
    theirs = psql(url, "SELECT id FROM call_participants WHERE \"userId\" = 'ann'")
    dead_letters.append(spool, {"n": 3, "change": {"participant_id": theirs, "text": "what Ann said"}})
    code, text = admin.text("export-user", "ann")
    assert code == 0
    held = json.loads(text)
    assert (held["user"]["name"], len(held["participations"]), held["changesSetAside"][0]["n"]) == (
        "Ann",
        1,
        1,
    )

    assert admin.json("erase-user", "ann") == (
        0,
        {
            "erased": {
                "participations": 1,
                "callsInitiated": 0,
                "callsEnded": 0,
                "personRow": "erased",
                "transcriptions": 0,
                "recordingsMade": 0,
                "heardIn": [],
            },
            "changesSetAside": 2,
        },
    )
    assert admin.json("export-user", "ann") == (1, {"user": None})
    assert admin.text("erase-user", "ann") == (1, "nothing is held on user ann")
    assert [one["n"] for one in dead_letters.naming(spool, "ben")] == [2]


def test_erasing_what_cannot_be(admin: Admin, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem_db(admin.data_dir, "erase-user", "ben", url=url) == 2
    assert "is in call 'new' now" in capsys.readouterr().err
    psql(url, "ALTER TABLE users ADD COLUMN email text")
    code, text = admin.text("erase-user", "ann")
    assert code == 1
    assert text.endswith("another application's: erase it there")
