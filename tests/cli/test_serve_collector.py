"""The cycle collector of a server that has started."""

from __future__ import annotations

import gc

from server.cli.serve import settle_collector


def test_what_is_there_is_not_looked_through_again_and_new_cycles_are_found() -> None:
    before = gc.get_threshold()
    try:
        settle_collector()
        assert gc.get_freeze_count() > 10_000
        assert gc.isenabled()
        assert gc.get_threshold() > before
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
