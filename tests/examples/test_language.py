"""The examples: played on real processes, then picked up again at every event of their histories."""

import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiki_client import Client
from aiki_client.history_file import saved_run
from aiki_worker.handlers import Handlers, load
from aiki_workflow import events
from examples import language
from examples.local_cluster import LocalCluster
from tests.support.prefixes import assert_every_prefix_goes_on

NAMES = sorted(
    path.stem for path in Path(language.__path__[0]).glob("*.py") if path.stem not in {"__init__", "waiting"}
)
PREFIXES_MAX = 200


@pytest.fixture(scope="module")
def examples_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves all examples."""
    with LocalCluster(tmp_path_factory.mktemp("examples")) as cluster:
        cluster.start_coordinator()
        first, *others = (f"examples.language.{name}" for name in NAMES)
        cluster.start_worker("worker", first, options=others)
        yield cluster


@pytest.fixture
async def client(examples_cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(examples_cluster.address) as client:
        yield client


@pytest.mark.parametrize("name", NAMES)
async def test_an_example(client: Client, name: str) -> None:
    """It comes to what it says, and a worker killed after any event would have come to the same."""
    module: Any = importlib.import_module(f"examples.language.{name}")

    assert await module.scenario(client) == module.EXPECTED

    assert await _picked_up(client, load([module.__name__])) > 0


async def _picked_up(client: Client, handlers: Handlers) -> int:
    """How many runs of these workflows were picked up at each of their events."""
    checked = 0
    async for view in client.list():
        workflow = handlers.workflows.get((view.workflow, view.version))
        if workflow is None or view.history_length > PREFIXES_MAX:
            continue
        run = await saved_run(await client.get_run(view.run_id))
        if run.history and isinstance(run.history[-1], events.ENDINGS):
            assert_every_prefix_goes_on(run, workflow)
            checked += 1
    return checked
