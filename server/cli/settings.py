"""The flags that set settings, the same for every command that needs the configuration."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from server.config import Config, load
from server.errors import ConfigError

# flag, setting, metavar, help; a flag that may be given several times makes a list
FLAGS: list[tuple[str, str, str, str]] = [
    ("--data-dir", "data_dir", "DIR", "where the database, certificate and secret are kept"),
    ("--http-port", "http.port", "PORT", "TCP port of the page and the WebSocket (default 8443)"),
    ("--media-port", "media.port", "PORT", "UDP and TCP port of all media (default 8444)"),
    ("--public-host", "http.public_host", "HOST", "the name people use for this server, for links"),
    ("--certificate", "http.certificate", "FILE", "PEM certificate with its chain (default: self-signed)"),
    ("--key", "http.key", "FILE", "the certificate's private key"),
    ("--database-url", "database.url", "URL", "an existing PostgreSQL (default: an embedded one)"),
    ("--log-level", "log.level", "LEVEL", "debug, info, warning or error"),
]
LISTS: list[tuple[str, str, str, str]] = [
    ("--http-address", "http.addresses", "ADDRESS", "listen for HTTP on this address only; repeatable"),
    ("--media-address", "media.addresses", "ADDRESS", "listen for media on this address only; repeatable"),
    ("--announce", "media.announce", "ADDRESS", "public address for media; repeatable (default: detected)"),
]


def add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings", "stronger than environment variables and the file")
    group.add_argument("--config", type=Path, metavar="FILE", help="TOML file (or TANDEM_CONFIG)")
    for flag, _, metavar, text in FLAGS:
        group.add_argument(flag, metavar=metavar, help=text)
    for flag, _, metavar, text in LISTS:
        group.add_argument(flag, metavar=metavar, action="append", help=text)
    group.add_argument("--dev", action="store_true", help="let guests in without a token")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting, such as call.policy=sfu",
    )


def add_settings_everywhere(parser: argparse.ArgumentParser) -> None:
    """For a command with sub-commands: the flags may stand before or after the sub-command's name."""
    add_settings(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                taken = {option for a in inner._actions for option in a.option_strings}
                flags = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
                add_settings(flags)
                for flag in flags._actions:
                    if not taken.intersection(flag.option_strings):
                        flag.default = argparse.SUPPRESS  # absent here must not undo what stood before
                        inner._add_action(flag)


def settings_from(args: argparse.Namespace) -> Config:
    """The configuration from file, environment and these arguments. Raises ConfigError."""
    flags: list[tuple[str, str | list[str] | bool]] = []
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: must be NAME=VALUE, such as call.policy=sfu")
        flags.append((name, value))
    for flag, name, _, _ in [*FLAGS, *LISTS]:
        value = getattr(args, flag[2:].replace("-", "_"))
        if value is not None:
            flags.append((name, value))
    if args.dev:
        flags.append(("dev", True))
    named = os.environ.get("TANDEM_CONFIG")
    file = args.config or (Path(named) if named else None)
    return load(file=file, environ=os.environ, flags=flags)
