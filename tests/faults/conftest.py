from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pytest_trio import trio_fixture

from tests.faults import witness
from tests.faults.settings import WHOLE
from tests.harness.database_proxy import DatabaseProxy, database_proxy
from tests.harness.postgres import TestCluster, psql, public_dir
from tests.harness.postgres import test_cluster as start_cluster


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked slow here belongs to the whole suite only."""
    here = Path(__file__).parent
    slow = [one for one in items if here in one.path.parents and one.get_closest_marker("slow")]
    if slow and not WHOLE:
        config.hook.pytest_deselected(items=slow)
        items[:] = [one for one in items if one not in slow]


@pytest.fixture(scope="package")
def cluster() -> Iterator[TestCluster]:
    """A cluster whose fresh databases have the witness."""
    with start_cluster() as running:
        witness.install(running.url("tandem_template"))
        yield running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with public_dir() as path:
        yield path


@trio_fixture
async def proxy(cluster: TestCluster) -> AsyncIterator[DatabaseProxy]:
    async with database_proxy(str(cluster.postgres.socket_dir / ".s.PGSQL.5432")) as running:
        yield running


@pytest.fixture(autouse=True)
def _tidy(cluster: TestCluster) -> Iterator[None]:
    """Two hundred databases are two gigabytes."""
    yield
    with contextlib.suppress(subprocess.CalledProcessError):  # a failed case may have left it dead
        names = psql(cluster.postgres.dsn, "SELECT datname FROM pg_database WHERE datname LIKE 'test%'")
        for name in names.split():
            psql(cluster.postgres.dsn, f"DROP DATABASE {name} WITH (FORCE)")
