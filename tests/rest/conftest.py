from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.postgres import TestCluster
from tests.harness.postgres import test_cluster as start_cluster


@pytest.fixture(scope="package")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running
