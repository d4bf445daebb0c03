"""A network of its own for measuring: addresses that answer while a call is set up, then a sink behind them.

On plain loopback a sender also pays for the receiver's part of the kernel. `ifb0` drops what it is given at
driver level and takes UDP_SEGMENT messages whole, so that only sending is measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.unusable import Unusable

SERVER = "10.8.0.1"
WITNESS = "10.8.0.2"  # stays on loopback
SUBSCRIBERS = "10.9.0.0/16"
_INSIDE = "TANDEM_BENCH_NETNS"
_SBIN = ":/usr/sbin:/sbin"  # of `tc`, which ordinary users' PATH may lack


def enter() -> None:
    """Runs this program anew in a network namespace, unless it is in one. Unusable where that is refused."""
    if os.environ.get(_INSIDE) == "1":
        return
    os.environ["PATH"] = os.environ.get("PATH", "") + _SBIN
    if lacking := [name for name in ("unshare", "ip", "tc") if shutil.which(name) is None]:
        raise Unusable(f"{' and '.join(lacking)} not found (Debian: util-linux and iproute2)")
    # As themselves, not as a root of their own: PostgreSQL refuses to run as root.
    flags = ["--net"] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps", "--net"]
    tried = subprocess.run(["unshare", *flags, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Unusable(
            "no network namespace of its own to measure in; be root, or let users make them "
            "(sysctl kernel.apparmor_restrict_unprivileged_userns=0, kernel.unprivileged_userns_clone=1, "
            f"in a container --privileged): {tried.stderr.strip()}"
        )
    command = ["unshare", *flags, sys.executable, *sys.orig_argv[1:]]
    os.execvpe("unshare", command, {**os.environ, _INSIDE: "1"})


def prepare() -> None:
    ip("link", "set", "lo", "up")
    ip("route", "add", "local", "10.8.0.0/16", "dev", "lo")
    ip("route", "add", "local", SUBSCRIBERS, "dev", "lo")


def subscriber_address(index: int) -> str:
    return f"10.9.{index >> 8}.{index & 255}"


def sink(on: bool) -> None:
    """On: what is sent to subscribers is dropped by ifb0. Off: their sockets get it. Unusable without ifb."""
    if on:
        _make_ifb0()
        ip("route", "del", "local", SUBSCRIBERS, "dev", "lo")
        ip("route", "add", SUBSCRIBERS, "dev", "ifb0")
    else:
        ip("route", "del", SUBSCRIBERS, "dev", "ifb0")
        ip("route", "add", "local", SUBSCRIBERS, "dev", "lo")


def _make_ifb0() -> None:
    if subprocess.run(["ip", "link", "show", "ifb0"], capture_output=True, check=False).returncode:
        ip("link", "add", "ifb0", "type", "ifb")
    ip("link", "set", "ifb0", "up")
    subprocess.run(
        ["tc", "qdisc", "replace", "dev", "ifb0", "root", "noqueue"], capture_output=True, check=False
    )


def ip(*arguments: str) -> None:
    """The command of iproute2, where the calling thread is. Unusable where the kernel refuses."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip()
        raise Unusable(f"`ip {' '.join(arguments)}`: {said}{_hint(said, arguments)}")


def _hint(said: str, arguments: tuple[str, ...]) -> str:
    if "type" in arguments and ("Unknown device type" in said or "not supported" in said):
        module = arguments[arguments.index("type") + 1]
        return f" (the kernel's module `{module}` is missing; as root: modprobe {module})"
    return ""
