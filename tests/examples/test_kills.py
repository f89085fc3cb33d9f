"""The examples, with the worker that has their runs killed at every event, for real: the end is the same."""

import asyncio
import importlib
import os
import random
from collections.abc import Iterator, Sequence

import pytest

from examples.local_cluster import LocalCluster
from tests.examples.kills import CASES, Stage, module_of, play
from tests.examples.test_language import NAMES
from tests.support.nursery import Nursery
from tests.support.tollgate import Side

LEASE_TTL = "700ms"
AT_ONCE = 4
SIDES: tuple[Side, ...] = ("recorded", "lost")
CAMPAIGN = bool(os.environ.get("AIKI_CAMPAIGN"))
ALL = [*NAMES, *CASES]
WHOLE = ALL if CAMPAIGN else ["dag", "saga_booking"]
"""Those of which every moment is tried; of the others one, each time another."""
IMPATIENT = {"shopping_cart", "updatable_timer"}
"""They ask a run and do not ask again: on a busy machine five seconds may be too short for another worker to come."""
KILLS_MAX = 60
"""Of an example with more moments so many are tried, evenly spread."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A coordinator that takes workers for dead soon, and a nursery that knows all examples."""
    folder = tmp_path_factory.mktemp("kills")
    modules = [module_of(name) for name in ALL]
    with (
        LocalCluster(folder, lease_ttl=LEASE_TTL) as cluster,
        Nursery(modules, folder / "workers.log") as nursery,
    ):
        cluster.start_coordinator()
        yield Stage(cluster.address, nursery)


async def _play_all(stage: Stage, moments: Sequence[tuple[str, int, Side]]) -> int:
    """How many of these kills took place."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, moment: int, side: Side) -> bool:
        async with places:
            played = await play(stage, name, moment=moment, side=side)
        expected = importlib.import_module(module_of(name)).EXPECTED
        assert played.outcome == expected, f"{name}: its worker was killed at moment {moment}, {side}"
        return played.killed

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*moment)) for moment in moments]
    return sum(task.result() for task in tasks)


@pytest.mark.timeout(900 if CAMPAIGN else 60)
@pytest.mark.parametrize("name", WHOLE)
async def test_killed_at_every_event(stage: Stage, name: str) -> None:
    """Whether what the worker did last is recorded or not, another comes to the same end."""
    moments: list[tuple[str, int, Side]] = []
    for side in SIDES:
        last = (await play(stage, name, side=side)).moments
        assert last >= 2
        step = max(last // KILLS_MAX, 1)
        moments += [(name, moment, side) for moment in range(1, last + 1, step)]
    killed = await _play_all(stage, moments)
    # Commits are not cut alike each time, so the last moments may not come.
    assert killed >= len(moments) // 2


@pytest.mark.parametrize("name", sorted({*NAMES} - {*WHOLE} - IMPATIENT))
async def test_killed_at_one_event(stage: Stage, name: str) -> None:
    """Another one each time, early enough to come."""
    assert await _play_all(stage, [(name, random.randint(1, 2), random.choice(SIDES))]) == 1
