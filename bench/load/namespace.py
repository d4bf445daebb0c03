"""A network of its own for measuring: addresses that answer while a call is set up, then a sink behind them.

On plain loopback a sender also pays for the receiver's part of the kernel. `ifb0` drops what it is given at
driver level and takes UDP_SEGMENT messages whole, so that only sending is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys

SERVER = "10.8.0.1"
WITNESS = "10.8.0.2"  # stays on loopback
SUBSCRIBERS = "10.9.0.0/16"
_INSIDE = "TANDEM_BENCH_NETNS"


def enter() -> None:
    """Runs this program anew in a network namespace, unless it is in one. OSError where that is refused."""
    if os.environ.get(_INSIDE) == "1":
        return
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    command = ["unshare", *flags, sys.executable, *sys.orig_argv[1:]]
    os.execvpe("unshare", command, {**os.environ, _INSIDE: "1"})


def prepare() -> None:
    ip("link", "set", "lo", "up")
    ip("route", "add", "local", "10.8.0.0/16", "dev", "lo")
    ip("route", "add", "local", SUBSCRIBERS, "dev", "lo")
    if subprocess.run(["ip", "link", "show", "ifb0"], capture_output=True, check=False).returncode:
        ip("link", "add", "ifb0", "type", "ifb")
    ip("link", "set", "ifb0", "up")
    subprocess.run(
        ["tc", "qdisc", "replace", "dev", "ifb0", "root", "noqueue"], capture_output=True, check=False
    )


def subscriber_address(index: int) -> str:
    return f"10.9.{index >> 8}.{index & 255}"


def sink(on: bool) -> None:
    """On: what is sent to subscribers is dropped by ifb0. Off: their sockets get it."""
    if on:
        ip("route", "del", "local", SUBSCRIBERS, "dev", "lo")
        ip("route", "add", SUBSCRIBERS, "dev", "ifb0")
    else:
        ip("route", "del", SUBSCRIBERS, "dev", "ifb0")
        ip("route", "add", "local", SUBSCRIBERS, "dev", "lo")


def ip(*arguments: str) -> None:
    """The command of iproute2, where the calling thread is."""
    subprocess.run(["ip", *arguments], check=True)
