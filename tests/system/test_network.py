"""Faults of the network, between worker and coordinator and between coordinator and store."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiki_client import Client, Run
from aiki_server.store.embedded import EmbeddedValkey
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.proxy import Proxy, Way
from tests.support.waiting import eventually
from tests.system import first_workflows as flows

MODULE = "tests.system.first_workflows"
STEPS = 12
SIZES = [700, 1_500, 2_999, 4_001, 9_001, 20_011] if os.environ.get("AIKI_CAMPAIGN") else [4_001]
RESULT = sum(range(STEPS))
LOST = "the session was lost"


@dataclass(frozen=True)
class Rig:
    """A coordinator, and a proxy before it, that `worker` connects to."""

    cluster: LocalCluster
    client: Client
    proxy: Proxy
    log: Path

    @property
    def executed(self) -> list[str]:
        """The steps that have begun, in order."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    async def start(self) -> Run[int]:
        """A run of slow steps, some of them done."""
        run = await self.client.start(flows.many, str(self.log), STEPS)
        await self.has_executed(3)
        return run

    async def has_executed(self, count: int) -> None:
        """So many steps have begun."""

        async def have_begun() -> bool:
            return len(self.executed) >= count

        await eventually(have_begun, f"{count} steps have begun")

    async def has_said(self, words: str) -> None:
        """`worker` has logged it."""

        async def said() -> bool:
            return words in self.cluster.log("worker")

        await eventually(said, f"the worker says {words!r}")

    async def recorded(self, run: Run[int]) -> Counter[str]:
        """How often each step's result is in the history."""
        history = [event async for event in run.history()]
        return Counter(event.address for event in history if isinstance(event, events.TaskCompleted))


@asynccontextmanager
async def a_rig(folder: Path, *, lease_ttl: str) -> AsyncGenerator[Rig]:
    """Everything runs."""
    with LocalCluster(folder / "cluster", lease_ttl=lease_ttl) as cluster:
        address = cluster.start_coordinator()
        async with Proxy(address) as proxy, Client.connect(address) as client:
            cluster.address = proxy.address
            cluster.start_worker("worker", MODULE)
            yield Rig(cluster, client, proxy, folder / "log")
            await proxy.heal()


async def assert_each_step_is_recorded_once(rig: Rig, run: Run[int]) -> None:
    """Whatever ran twice, the history has it once."""
    assert await run.result(timeout="40s") == RESULT
    recorded = await rig.recorded(run)
    assert len(recorded) == STEPS
    assert set(recorded.values()) == {1}


async def test_a_worker_that_is_cut_off_loses_its_work(tmp_path: Path) -> None:
    """Another one has it by then; when the first comes back it is told, drops it, and serves again."""
    async with a_rig(tmp_path, lease_ttl="1s") as rig:
        run = await rig.start()
        rig.proxy.swallow_all()
        rig.cluster.address = rig.proxy.target
        rig.cluster.start_worker("second", MODULE)
        await assert_each_step_is_recorded_once(rig, run)
        await rig.proxy.heal()

        await rig.has_said("leases were lost meanwhile")
        rig.cluster.stop("second")
        again = await rig.client.start(flows.many, str(rig.log), STEPS)
        assert await again.result(timeout="40s") == RESULT


async def test_a_worker_that_is_stopped_past_its_lease_is_fenced(tmp_path: Path) -> None:
    """It goes on where it stood, and none of its late results counts."""
    async with a_rig(tmp_path, lease_ttl="1s") as rig:
        run = await rig.start()
        os.kill(rig.cluster.pid("worker"), signal.SIGSTOP)
        rig.cluster.start_worker("second", MODULE)
        await assert_each_step_is_recorded_once(rig, run)
        before = await rig.recorded(run)

        os.kill(rig.cluster.pid("worker"), signal.SIGCONT)
        await rig.has_said(LOST)
        assert await rig.recorded(run) == before


@pytest.mark.parametrize("way", Way)
async def test_a_stream_that_is_half_open_is_left(tmp_path: Path, way: Way) -> None:
    """One side hears the other and is not heard: nobody waits for ever."""
    async with a_rig(tmp_path, lease_ttl="1500ms") as rig:
        run = await rig.start()
        rig.proxy.dropped = {way}
        await rig.has_said("no renewal was answered")
        await rig.proxy.heal()

        await assert_each_step_is_recorded_once(rig, run)


@pytest.mark.parametrize("size", SIZES)
async def test_a_stream_that_is_cut_again_and_again(tmp_path: Path, size: int) -> None:
    """At any byte: the session resumes, and as no lease is lost, no step runs twice."""
    async with a_rig(tmp_path, lease_ttl="60s") as rig:
        run = await rig.start()
        rig.proxy.cut_after = size
        await rig.proxy.cut()
        await rig.has_executed(6)
        await rig.proxy.heal()
        await assert_each_step_is_recorded_once(rig, run)

        assert rig.proxy.connections > 1
        assert len(rig.executed) == STEPS


async def test_a_slow_network_is_only_slow(tmp_path: Path) -> None:
    """Nothing breaks, nothing runs twice."""
    async with a_rig(tmp_path, lease_ttl="5s") as rig:
        rig.proxy.delay_s = 0.02
        run = await rig.start()
        await assert_each_step_is_recorded_once(rig, run)

        assert len(rig.executed) == STEPS
        assert "broke" not in rig.cluster.log("worker")


@pytest.mark.parametrize("fault", ["cut", "swallow", "deaf"])
async def test_a_store_that_is_away_expires_nobody(tmp_path: Path, fault: str) -> None:
    """For several lease TTLs: the workers keep what they have, nothing is lost, no step runs twice."""
    log = tmp_path / "log"
    async with EmbeddedValkey(tmp_path / "store") as store, Proxy(store.url.removeprefix("unix://")) as proxy:
        with LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
            options = ("--store", f"redis://{proxy.address}")
            await asyncio.to_thread(cluster.start_coordinator, options=options)
            cluster.start_worker("worker", MODULE)
            async with Client.connect(cluster.address) as client:
                rig = Rig(cluster, client, proxy, log)
                run = await rig.start()
                if fault == "cut":
                    proxy.cut_after = 150_000
                    await proxy.cut()
                    await rig.has_executed(8)
                else:
                    proxy.dropped = {Way.BACK} if fault == "deaf" else {Way.THERE, Way.BACK}
                    await rig.has_said("no renewal was answered")
                await proxy.heal()
                await assert_each_step_is_recorded_once(rig, run)

                assert len(rig.executed) == STEPS
