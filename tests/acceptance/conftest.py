"""Real workers for the acceptance tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.cluster import PATIENT, Cluster, cluster_on


@pytest.fixture
def cluster(sqlite_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, on SQLite, without a worker; its leases are long."""
    with cluster_on(sqlite_url, tmp_path / "cluster", **PATIENT) as cluster:
        yield cluster
