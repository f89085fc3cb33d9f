"""Durability `replicated`: what was acknowledged survives a primary that is killed, and slots that move, under load."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiki_client import Client, Run
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.cluster import servers
from tests.cluster.servers import Server
from tests.support.waiting import eventually
from tests.system.chaos_workflows import expected, storm

MODULE = "tests.system.chaos_workflows"
AT_ONCE = 6
RUNS_BEFORE = 10
RUNS_AFTER = 10
KILLS = 2
RECOVERY_SECONDS = 60.0
SLOTS_MOVED = 300


@dataclass
class Rig:
    """A store of several servers, and what is done to it."""

    url: str
    primary: Callable[[], Server]
    is_whole: Callable[[], bool]


@contextmanager
def cluster_rig(folder: Path) -> Iterator[Rig]:
    with servers.cluster(folder, "min-replicas-to-write 1") as nodes:
        yield Rig(nodes.url, lambda: nodes.primaries()[0], nodes.is_whole)


@contextmanager
def sentinel_rig(folder: Path) -> Iterator[Rig]:
    with servers.sentinels(folder, "min-replicas-to-write 1") as watched:
        yield Rig(watched.url, watched.primary, lambda: watched.primary().process is not None)


class Load:
    """Runs that are started one after another, a few at once; each start that was acknowledged is remembered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._number = 0
        self.acknowledged: dict[int, Run[int]] = {}
        self.results: dict[int, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._one_after_another())

    async def have_finished(self, more: int) -> None:
        """Wait until this many more runs have ended."""
        goal = len(self.results) + more

        async def reached() -> bool:
            return len(self.results) >= goal

        await eventually(reached, f"{more} more runs end", RECOVERY_SECONDS)

    async def _one_after_another(self) -> None:
        while True:
            self._number += 1
            number = self._number
            run = await self._client.start(storm.with_(id=f"storm-{number}"), number)
            self.acknowledged[number] = run
            self.results[number] = await run.result(timeout="120s")


async def check(load: Load, seen: dict[str, list[events.Event]]) -> None:
    """Every acknowledged run is there and gives its result; nothing that was seen of a history is gone, nothing is twice."""
    for number, run in load.acknowledged.items():
        assert await run.result(timeout="60s") == expected(number)
        history = [event async for event in run.history()]
        before = seen.get(run.run_id, [])
        assert history[: len(before)] == before, f"what was shown of run {number} stays"
        outcomes = [
            (type(event), event.address)
            for event in history
            if isinstance(event, events.TaskCompleted | events.TaskScheduled | events.TimerFired)
        ]
        assert len(outcomes) == len(set(outcomes)), f"nothing of run {number} is recorded twice"
    for number, result in load.results.items():
        assert result == expected(number)


async def look(load: Load) -> dict[str, list[events.Event]]:
    """What a client is shown now of every run."""
    runs = list(load.acknowledged.values())
    return {run.run_id: [event async for event in run.history()] for run in runs}


@contextmanager
def coordinator(folder: Path, url: str) -> Iterator[LocalCluster]:
    """One coordinator and two workers on this store."""
    with LocalCluster(folder, lease_ttl="3s") as local:
        local.start_coordinator(
            options=("--store", url), environment={"AIKI_SERVER_DURABILITY": "replicated"}
        )
        for name in ("worker-1", "worker-2"):
            local.start_worker(name, MODULE, slots=4)
        yield local


@pytest.mark.timeout(200)
@pytest.mark.parametrize("make", [cluster_rig, sentinel_rig])
async def test_a_killed_primary_loses_nothing(
    tmp_path: Path, make: Callable[[Path], AbstractContextManager[Rig]]
) -> None:
    """It is killed while runs are under way, twice; it comes back as a replica."""
    async with AsyncExitStack() as stack:
        rig = await asyncio.to_thread(stack.enter_context, make(tmp_path / "store"))
        local = await asyncio.to_thread(stack.enter_context, coordinator(tmp_path / "aiki", rig.url))
        client = await stack.enter_async_context(Client.connect(local.address))
        load = Load(client)
        loading = asyncio.create_task(load.run())
        try:
            seen: dict[str, list[events.Event]] = {}
            for _ in range(KILLS):
                await load.have_finished(RUNS_BEFORE)
                seen |= await look(load)
                victim = await asyncio.to_thread(rig.primary)
                victim.kill()

                async def replaced(victim: Server = victim) -> bool:
                    return await asyncio.to_thread(rig.primary) is not victim

                await eventually(replaced, "another node is primary", RECOVERY_SECONDS)
                await asyncio.to_thread(victim.start)
                await load.have_finished(RUNS_AFTER)
        finally:
            loading.cancel()
            await asyncio.wait({loading})
        await check(load, seen)


@pytest.mark.timeout(200)
async def test_slots_move_under_load(tmp_path: Path) -> None:
    """Partitions go to another node while runs are under way."""
    async with AsyncExitStack() as stack:
        nodes = await asyncio.to_thread(
            stack.enter_context, servers.cluster(tmp_path / "store", "min-replicas-to-write 1")
        )
        local = await asyncio.to_thread(stack.enter_context, coordinator(tmp_path / "aiki", nodes.url))
        client = await stack.enter_async_context(Client.connect(local.address))
        load = Load(client)
        loading = asyncio.create_task(load.run())
        try:
            await load.have_finished(RUNS_BEFORE)
            seen = await look(load)
            await asyncio.to_thread(nodes.move_slots, SLOTS_MOVED)
            await load.have_finished(RUNS_AFTER)
        finally:
            loading.cancel()
            await asyncio.wait({loading})
        await check(load, seen)
