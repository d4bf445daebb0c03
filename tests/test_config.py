from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server import config as c
from server.config import Config, load
from server.errors import ConfigError
from server.signaling.messages import IceServer


def test_defaults() -> None:
    config = load()
    assert (config.http.port, config.media.port, config.dev) == (8443, 8444, False)
    assert config.call.ring_timeout_s == 30
    assert config.database.url is None


def test_engines_have_a_port_each() -> None:
    assert load().media.ports == [8444]
    assert load(flags=[("media.engines", "3")]).media.ports == [8444, 8445, 8446]
    assert load(flags=[("media.engines", "2"), ("media.port", "0")]).media.ports == [0, 0]
    for port, engines, message in (
        ("8442", "2", r"^media\.port = 8442: .* 8443 .* http\.port too"),
        ("65535", "2", r"^media\.port = 65535: 2 engines need as many ports"),
        ("9000", "17", r"^media\.engines = 17 .* 1 to 16"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(flags=[("media.port", port), ("media.engines", engines)])
    without_tcp = [("media.port", "8442"), ("media.engines", "2"), ("media.tcp", "false")]
    assert load(flags=without_tcp).media.ports == [8442, 8443]


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "tandem.toml"
    file.write_text("dev = true\n[http]\nport = 1001\nidle_timeout_s = 5\n[media]\nport = 1002\n")
    environ = {"TANDEM_HTTP_PORT": "2001", "TANDEM_MEDIA_PORT": "2002", "OTHER": "x"}
    config = load(file=file, environ=environ, flags=[("http.port", "3001")])
    assert (config.http.port, config.media.port, config.http.idle_timeout_s) == (3001, 2002, 5)
    assert config.dev is True


def test_every_setting_can_come_from_the_environment_and_a_flag() -> None:
    samples = {bool: "yes", int: "7", float: "2.5", str: "auto", Path: "/x", list: ""}
    for name, kind in c.known_settings().items():
        plain, _ = c._plain(kind)
        base = getattr(plain, "__origin__", plain)
        text = {
            "log.level": "debug",
            "log.format": "json",
            "call.captions": "store",
            "database.url": "postgresql://x",
            "auth.secret": "s" * 32,
        }.get(name) or samples.get(base, "auto")
        if name in ("http.key", "http.certificate"):
            text = ""
        variable = "TANDEM_" + name.replace(".", "_").upper()
        assert load(environ={variable: text}) == load(flags=[(name, text)])


def test_values_of_several_kinds(tmp_path: Path) -> None:
    config = load(
        environ={
            "TANDEM_MEDIA_ANNOUNCE": "192.0.2.1, 2001:db8::1",
            "TANDEM_DEV": "on",
            "TANDEM_DATA_DIR": str(tmp_path),
            "TANDEM_MEDIA_ICE_SERVERS": '[{"urls": ["turn:t.example"], "username": "u", "credential": "c"}]',
        }
    )
    assert config.media.announce == ["192.0.2.1", "2001:db8::1"]
    assert config.dev
    assert config.data_dir == tmp_path
    assert config.media.ice_servers == [IceServer(urls=["turn:t.example"], username="u", credential="c")]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("http.port", "70000", r"^http\.port = 70000 \(from the command line\): must be a port, 0 to 65535"),
        ("http.port", "x", r"^http\.port = 'x' .*must be a port"),
        ("http.idle_timeout_s", "0", r"must be seconds, above 0"),
        ("dev", "maybe", r"^dev = 'maybe' .*must be true or false"),
        ("log.level", "loud", r"must be one of debug, info, warning, error"),
        ("call.policy", "mesh", r"must be one of auto, p2p, sfu"),
        ("call.ring_timeout_s", "-1", r"^call\.ring_timeout_s = -1\.0: must be above 0"),
        ("call.max_participants", "0", r"^call\.max_participants = 0: must be above 0"),
        ("media.announce", "nowhere", r"^media\.announce = 'nowhere': must be a list of IP addresses"),
        ("media.ice_servers", "{", r"^media\.ice_servers = '\{'"),
        ("http.allowed_origins", "example.org", r"such as https://example\.org"),
        (
            "database.url",
            "mysql://u:secret@h/d",
            r"^database\.url = \(not shown\): must begin with postgresql://",
        ),
        ("auth.secret", "short", r"^auth\.secret = \(not shown\) .*at least 32 characters"),
        (
            "http.prot",
            "1",
            r"^http\.prot \(from the command line\): there is no such setting; did you mean http\.port\?",
        ),
        ("nonsense", "1", r"^nonsense .*there is no such setting$"),
        ("call.server_version", "1", r"there is no such setting"),
        ("http.key", "/k", r"^http\.certificate: is missing"),
        ("media.port", "8443", r"^media\.port = 8443: is http\.port too"),
    ],
)
def test_errors_name_setting_value_and_what_is_allowed(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(flags=[(name, value)])
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[http]\nprot = 1\n", r"http\.prot \(from .*tandem\.toml\).*did you mean http\.port\?"),
        ("[htpp]\nport = 1\n", r"htpp .*no such setting.*did you mean http"),
        ("http = 5\n", r"is a section"),
        ("[http\n", "is not TOML"),
        ('[http]\nport = "8443"\n', r"http\.port = '8443' .*must be a port"),
        ("[http]\nport = true\n", "must be a port"),
    ],
)
def test_errors_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "tandem.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(file=file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: cannot be read: No such file"):
        load(file=tmp_path / "x.toml")


def test_misspelt_variables_are_refused_and_foreign_ones_are_not() -> None:
    with pytest.raises(ConfigError, match=r"http\.prot \(from TANDEM_HTTP_PROT\).*did you mean http\.port"):
        load(environ={"TANDEM_HTTP_PROT": "1"})
    # What orchestrators make of a service called "tandem".
    load(
        environ={
            "TANDEM_PORT": "tcp://10.0.0.1:8443",
            "TANDEM_SERVICE_HOST": "10.0.0.1",
            "TANDEM_PORT_8443_TCP": "x",
        }
    )


def test_units_are_part_of_the_names() -> None:
    numbers = [name for name, kind in c.known_settings().items() if c._plain(kind)[0] is float]
    for name in numbers:
        assert name.endswith(("_s", "_per_s", "_ms", "_loss")), name
    assert isinstance(Config(), msgspec.Struct)
