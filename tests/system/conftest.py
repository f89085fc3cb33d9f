"""A cluster that the tests of one module share, for those that break nothing in it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster

MODULE = "tests.system.client_workflows"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `client_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to the shared cluster."""
    async with Client.connect(cluster.address) as client:
        yield client
