from __future__ import annotations

import datetime
import fcntl
import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from server.cli import checks
from server.cli.doctor import examine
from server.cli.main import main
from server.config import Config, load
from server.http import tls


def config(tmp_path: Path, **settings: str) -> Config:
    flags = [(name.replace("__", "."), value) for name, value in settings.items()]
    return load(flags=[("data_dir", str(tmp_path)), *flags])


def states(check: Any, config: Config) -> list[tuple[str, str]]:
    return [(finding.state, finding.subject) for finding in check(config)]


def test_data_dir(tmp_path: Path) -> None:
    assert states(checks.check_data_dir, config(tmp_path))[0] == ("ok", "data_dir")
    assert states(checks.check_data_dir, config(tmp_path / "new" / "er"))[0] == ("ok", "data_dir")
    file = tmp_path / "file"
    file.touch()
    assert states(checks.check_data_dir, config(file))[0] == ("failed", "data_dir")


def test_ports(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        settings = config(tmp_path, http__port="0", media__port=str(port))
        found = list(checks.check_ports(settings))
        assert [finding.state for finding in found] == ["ok", "failed", "ok"]
        assert f"UDP {port} is in use" in found[1].text
        assert "--media-port" in found[1].fix
        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert all(finding.state == "ok" for finding in checks.check_ports(settings))


def test_ports_of_several_engines(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        settings = config(tmp_path, http__port="0", media__port=str(port - 1), media__engines="2")
        found = [finding for finding in checks.check_ports(settings) if finding.state == "failed"]
        assert [finding.text for finding in found if "UDP" in finding.text] == [f"UDP {port} is in use"]
    settings = config(tmp_path, media__announce="203.0.113.9", media__port="9000", media__engines="3")
    (finding,) = checks.check_addresses(settings)
    assert "ports 9000 to 9002 (UDP, TCP)" in finding.text


def test_certificates(tmp_path: Path) -> None:
    assert states(checks.check_certificate, config(tmp_path)) == [("ok", "certificate")]
    now = datetime.datetime.now(datetime.UTC)
    certificate, key = tls.self_signed(tmp_path, ["localhost"], now)
    assert [s for s, _ in states(checks.check_certificate, config(tmp_path))] == ["ok", "warning"]
    own = config(tmp_path, http__certificate=str(certificate), http__key=str(key))
    assert [s for s, _ in states(checks.check_certificate, own)] == ["ok"]
    for days, state in ((500, "failed"), (390, "warning"), (-30, "failed")):
        tls.self_signed(tmp_path, [f"{state}{days}"], now - datetime.timedelta(days=days))
        assert [s for s, _ in states(checks.check_certificate, own)] == [state], days
    key.write_text("x")
    assert [s for s, _ in states(checks.check_certificate, own)] == ["failed"]


def test_announced_addresses(tmp_path: Path) -> None:
    settings = config(tmp_path, media__announce="127.0.0.1,203.0.113.9")
    assert [s for s, _ in states(checks.check_addresses, settings)] == ["failed", "ok"]


def test_an_unreachable_database(tmp_path: Path) -> None:
    (finding,) = checks.check_postgres(config(tmp_path, database__url="postgresql://u:secret@127.0.0.1:1/x"))
    assert finding.state == "failed"
    assert "secret" not in finding.text


def test_missing_binaries(tmp_path: Path) -> None:
    found = list(checks.check_postgres(config(tmp_path)))
    assert [finding.subject for finding in found] == ["postgres"] * len(found)
    assert found[0].state == "ok"


def test_stun_round_trip() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def answer() -> None:
            request, address = server.recvfrom(2048)
            server.sendto(b"junk", address)
            request, address = server.recvfrom(2048)
            server.sendto(b"\x01\x01\x00\x00" + request[4:20], address)

        thread = threading.Thread(target=answer)
        thread.start()
        took_s = checks.stun_round_trip("127.0.0.1", server.getsockname()[1])
        thread.join()
        assert took_s is not None
        assert took_s < 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert checks.stun_round_trip("127.0.0.1", silent.getsockname()[1], timeout_s=0.01) is None


def test_a_broken_check_hides_nothing(tmp_path: Path) -> None:
    def check_broken(config: Config) -> Any:
        raise RuntimeError("why")

    found = list(examine(config(tmp_path), [check_broken, checks.check_clock]))
    assert [finding.state for finding in found] == ["failed", "ok"]
    assert (found[0].subject, "RuntimeError: why" in found[0].text) == ("broken", True)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as data_dir:
        Path(data_dir).chmod(0o711)  # pytest's own are closed to PostgreSQL's user
        run_the_command(Path(data_dir), capsys)


def run_the_command(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free = ["--http-port", "0", "--media-port", "0", "--data-dir", str(data_dir)]
    assert main(["doctor", "--json", *free, "--announce", "203.0.113.9"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["subject"] for finding in findings} >= {"data_dir", "postgres", "clock", "server"}
    assert main(["doctor", *free, "--announce", "127.0.0.1"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  addresses" in out
    assert "fix: " in out


@pytest.mark.parametrize(
    ("values", "state"),
    [("100000 5 1 0 9 3", "ok"), ("100000 5 1 0 900 3", "warning"), ("100000 5 1 0 0 900", "warning")],
)
def test_udp_losses_are_told(
    values: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "snmp"
    file.write_text(
        "Ip: Forwarding\nIp: 1\n"
        f"Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: {values}\n"
        "UdpLite: InDatagrams\nUdpLite: 0\n"
    )
    monkeypatch.setattr(checks, "_UDP_COUNTERS", file)
    assert [one.state for one in checks.check_udp_losses(config(tmp_path))] == [state]
    file.write_text("nonsense\n")
    assert list(checks.check_udp_losses(config(tmp_path))) == []
