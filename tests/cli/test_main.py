from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.cli.main import build_parser, main
from server.signaling.messages import Hello
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens, load_secret


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tandem ")
    assert "missing" not in out


def test_a_token_that_the_server_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "token",
        "--user",
        "u1",
        "--name",
        "Ann",
        "--room",
        "r1",
        "--can",
        "publish,end",
        "--ttl",
        "5m",
    ]
    assert main([*command, "--data-dir", str(tmp_path), "--public-host", "call.example", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["link"] == f"https://call.example:8443/?room=r1#token={made['token']}"
    assert made["expiresInS"] == 300
    tokens = Tokens(AuthSettings(), secret=load_secret(AuthSettings(), tmp_path))
    identity = tokens.authenticate(Hello(token=made["token"]))
    assert (identity.user_id, identity.name, identity.grants.room) == ("u1", "Ann", "r1")
    assert (identity.grants.start, identity.grants.publish, identity.grants.end) == (False, True, True)


def test_a_token_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--room", "*", "--name", "X", "--data-dir", str(tmp_path)]) == 0
    token, _, link = capsys.readouterr().out.strip().splitlines()
    assert link == f"https://localhost:8443/#token={token}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["token", "--room", "a/b"], "no token can hold that"),
        (["token", "--room", "r", "--can", "fly"], "--can fly: fly is none of start"),
        (["token", "--room", "r", "--ttl", "soon"], "--ttl soon: must be a number and s, m, h or d"),
        (["token", "--room", "r", "--set", "x"], "--set x: must be NAME=VALUE"),
        (["token", "--room", "r", "--set", "http.prot=1"], "did you mean http.port?"),
        (["serve", "--http-port", "high"], "http.port = 'high'"),
        (["serve", "--config", "/nowhere.toml"], "/nowhere.toml: cannot be read"),
        (["doctor", "--media-port", "-1"], "media.port = -1"),
    ],
)
def test_mistakes_cost_one_clear_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--data-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("tandem: ")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize("place", ["before", "after"])
def test_db_takes_settings_on_both_sides(place: str, tmp_path: Path) -> None:
    settings = ["--data-dir", str(tmp_path), "--database-url", "postgresql://x"]
    command = ["db", *settings, "status"] if place == "before" else ["db", "status", *settings]
    args = build_parser().parse_args(command)
    assert (args.data_dir, args.database_url) == (str(tmp_path), "postgresql://x")
    assert args.set == []


def test_bench_is_the_suite_with_its_own_options() -> None:
    command = [sys.executable, "-m", "server", "bench"]
    asked = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert asked.returncode == 0
    assert "--compare OLD.json" in asked.stdout
    wrong = subprocess.run([*command, "nosuch"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no such question: nosuch" in wrong.stderr
