"""`tandem serve`: runs the server until Ctrl-C or SIGTERM; a second one ends it at once."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import structlog

from server.cli import files, logs
from server.cli.settings import add_settings, settings_from
from server.errors import ConfigError

if TYPE_CHECKING:
    from server.app import Started
    from server.config import Config

_INDENT = " " * 22
_COLLECT_AT = (10_000, 20, 20)  # new objects, young collections, middle ones; Python's own are 700, 10, 10


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("serve", help="run the server", allow_abbrev=False)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config = settings_from(args)
    logs.configure(config.log)
    files.allow(config)
    import trio

    try:
        trio.run(_serve, config)
    except BaseExceptionGroup as group:
        from server.db.errors import DatabaseError

        errors = list(_leaves(group))
        if all(isinstance(error, (ConfigError, DatabaseError)) for error in errors):
            raise ConfigError(str(errors[0])) from None  # one clear line, whichever part said it
        structlog.get_logger("app").critical("server_failed", exc_info=group)
        return 1
    return 0


async def _serve(config: Config) -> None:
    import trio

    from server import app

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop)
        await app.run(config, stop=stop, started=_started)
        nursery.cancel_scope.cancel()


async def _watch_signals(stop: Any, *, task_status: Any) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                # No waiting for anything: the embedded PostgreSQL sees its parent die and stops by itself.
                sys.stderr.write("tandem: stopped at once\n")
                sys.stderr.flush()
                os._exit(128 + number)
            stop.set()


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _started(started: Started) -> None:
    settle_collector()
    _announce(started)


def settle_collector() -> None:
    """Have Python's cycle collector leave what was made until now alone, and look for cycles less often.

    Calls leave hardly any: while people joined it found none, and had 5 to 7 % of their CPU time. To look
    through all that was imported also stopped everything for 50 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AT)


def _announce(started: Started) -> None:
    print("\n".join(_lines(started)), flush=True)


def _lines(started: Started) -> Iterator[str]:
    yield f"Tandem {started.version} is running. Open  http://localhost:{started.port}/"
    hosts = [started.public_host] if started.public_host else started.addresses
    if hosts:
        urls = "  ".join(f"https://{_bracketed(host)}:{started.port}/" for host in hosts)
        yield f"  on other machines   {urls}"
        if started.self_signed:
            yield f"{_INDENT}self-signed: browsers warn once; --certificate and --key bring your own"
    tcp = " and TCP" if started.media_tcp else ""
    yield f"  media               UDP{tcp} {_ports(started.media_ports)}"
    yield f"  database            {started.database}"
    if started.dev:
        yield "  guests              --dev is on: anybody who reaches this server may call"
        if hosts:
            yield "  WARNING             other machines reach it: use --dev on trusted networks only"
    else:
        yield f"  a link for somebody tandem token --room ROOM --name NAME --data-dir {started.data_dir}"
    yield "  Ctrl-C stops it."


def _ports(ports: list[int]) -> str:
    if len(ports) == 1:
        return f"port {ports[0]}"
    if ports == list(range(ports[0], ports[-1] + 1)):
        return f"ports {ports[0]} to {ports[-1]}"
    return "ports " + ", ".join(map(str, ports))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
