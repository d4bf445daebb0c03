from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pytest_trio import trio_fixture

from server.db.pool import Database, open_database
from tests.harness.postgres import TestCluster, public_dir
from tests.harness.postgres import test_cluster as start_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with public_dir() as path:
        yield path


@trio_fixture
async def url(cluster: TestCluster) -> str:
    """A database with the whole schema and no rows."""
    return await cluster.fresh()


@trio_fixture
async def empty_url(cluster: TestCluster) -> str:
    return await cluster.fresh(migrated=False)


@trio_fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with open_database(url, size=8) as database:
        yield database
