"""The native part of the suite is compiled once, before anything imports it."""

from __future__ import annotations

from bench.native.build import build

build()
