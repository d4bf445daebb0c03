"""The native part of the suite, compiled when it is first asked for and when its sources have changed."""

from bench.native.build import build

build()
