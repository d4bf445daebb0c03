from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pytest_trio import trio_fixture

from server.db.pool import open_database
from tests.harness.postgres import TestCluster, public_dir
from tests.harness.postgres import test_cluster as start_cluster
from tests.rest import rows
from tests.rest.house import House, serving


@pytest.fixture(scope="package")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with public_dir() as path:
        yield path


@trio_fixture
async def url(cluster: TestCluster) -> str:
    """A database with the calls of `rows`."""
    url = await cluster.fresh()
    async with open_database(url, size=2) as db:
        await rows.write(db)
    return url


@trio_fixture
async def house(data_dir: Path, url: str) -> AsyncIterator[House]:
    async with serving(data_dir, url) as running:
        yield running
