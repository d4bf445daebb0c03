"""Seeded faults between the recorder and PostgreSQL, and deaths of the server: nothing lost, nothing doubled.

Each case plays a few processes of one node, one after the other. Each submits what calls would while the
connection is delayed, refused, black-holed, cut between statements, and cut around commits so that their
outcome is unknown; then it dies at any point: only its files remain. At the end the rows are compared with a
model that saw every change once, and a witness in the database tells in which transaction each was written.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.lives import play
from tests.faults.settings import seeds
from tests.harness.database_proxy import DatabaseProxy
from tests.harness.postgres import TestCluster


@pytest.mark.parametrize("seed", seeds(short=8, share=0.5))
async def test_every_change_once_and_in_order(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, seed: int
) -> None:
    await play(cluster, proxy, tmp_path, seed)
