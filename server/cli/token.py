"""`tandem token`: makes a token for one person and the link that carries it."""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
from typing import Any

from server.cli.settings import add_settings, settings_from
from server.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "token",
        help="make a token and a link to join with",
        description="Makes a token (JWT) signed with this server's secret, and a link that carries it.",
        allow_abbrev=False,
    )
    parser.add_argument("--user", metavar="ID", help="the user's id in your application (default: a guest)")
    parser.add_argument("--name", default="", help="the name that others see")
    parser.add_argument("--room", required=True, help="the room it is good for, or '*' for all")
    parser.add_argument("--ttl", default="6h", metavar="TIME", help="how long: 30m, 6h, 7d (default 6h)")
    parser.add_argument(
        "--can",
        default="start,publish",
        metavar="LIST",
        help="of start,publish,end,read,admin (default start,publish)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from server.signaling.tokens import CAN, Tokens, load_secret

    config = settings_from(args)
    can = [part.strip() for part in args.can.split(",") if part.strip()]
    unknown = [part for part in can if part not in CAN]
    if unknown:
        raise ConfigError(f"--can {args.can}: {unknown[0]} is none of {', '.join(CAN)}")
    ttl_s = _seconds(args.ttl)
    try:
        config.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir = {config.data_dir}: {error.strerror}") from None
    tokens = Tokens(config.auth, secret=load_secret(config.auth, config.data_dir))
    try:
        token = tokens.mint(
            room=args.room, user_id=args.user, name=args.name, can=can, ttl_s=ttl_s, now=time.time()
        )
    except ValueError as error:
        raise ConfigError(f"no token can hold that: {error}") from None
    host = config.http.public_host or "localhost"
    room = "" if args.room == "*" else f"?room={urllib.parse.quote(args.room)}"
    link = f"https://{host}:{config.http.port}/{room}#token={token}"
    if args.json:
        print(json.dumps({"token": token, "link": link, "expiresInS": ttl_s}))
    else:
        print(token)
        print()
        print(link)
    return 0


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if found is None:
        raise ConfigError(f"--ttl {text}: must be a number and s, m, h or d, such as 6h")
    return int(found[1]) * _UNITS[found[2]]
