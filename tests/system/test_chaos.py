"""kill -9 of workers, coordinators and the store at random points of running fan-outs."""

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from aiki_client import Client, Run
from aiki_server.store.embedded import EmbeddedValkey
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.system.chaos_workflows import expected, storm

ROUNDS = 500 if os.environ.get("AIKI_CAMPAIGN") else 20
RUNS = 4
KILLS = 3
LEASE_TTL = "1s"
MODULE = "tests.system.chaos_workflows"


class Rig:
    """One coordinator, two workers and a store of their own, each of which can be killed and started again."""

    def __init__(self, cluster: LocalCluster, store: EmbeddedValkey) -> None:
        self.cluster = cluster
        self.store = store
        self.port = free_port()

    async def start(self) -> None:
        """Start everything."""
        await self.start_coordinator()
        for name in ("worker-1", "worker-2"):
            self.start_worker(name)

    async def start_coordinator(self) -> None:
        """Start the coordinator at its one address."""
        options = ("--store", self.store.url)
        listen = f"127.0.0.1:{self.port}"
        await asyncio.to_thread(self.cluster.start_coordinator, listen=listen, options=options)

    def start_worker(self, name: str) -> None:
        """Start a worker with few slots, so that work spills to the other."""
        self.cluster.start_worker(name, MODULE, slots=4)

    async def kill(self, victim: str) -> None:
        """SIGKILL one process and start it again."""
        if victim == "store":
            # Its guardian starts it again, with the same data.
            psutil.Process(self.store.server_pid).kill()
            return
        await asyncio.to_thread(self.cluster.kill, victim)
        if victim == "coordinator":
            await self.start_coordinator()
        else:
            self.start_worker(victim)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_every_run_completes_once(seed: int, tmp_path: Path) -> None:
    """Whatever is killed, each run gives its result, no result is recorded twice, none that was seen is lost."""
    dice = random.Random(seed)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(EmbeddedValkey(tmp_path / "data"))
        cluster = stack.enter_context(LocalCluster(tmp_path / "cluster", lease_ttl=LEASE_TTL))
        rig = Rig(cluster, store)
        await rig.start()
        client = await stack.enter_async_context(Client.connect(rig.cluster.address))
        runs = [
            await client.start(storm.with_(id=f"storm-{seed}-{number}"), number) for number in range(RUNS)
        ]

        seen: dict[str, list[events.Event]] = {}
        for victim in dice.choices(["worker-1", "worker-2", "coordinator", "store"], k=KILLS):
            await progress(dice.choice(runs), dice.randrange(2, 30))
            seen |= {run.run_id: await history_of(run) for run in runs}
            await rig.kill(victim)

        results = [await run.result(timeout="60s") for run in runs]
        histories = {run.run_id: await history_of(run) for run in runs}

    assert results == [expected(number) for number in range(RUNS)]
    for run_id, history in histories.items():
        assert history[: len(seen[run_id])] == seen[run_id], "what a client has seen stays"
        assert most_common(history) == 1, "no result is recorded twice"


async def progress(run: Run[int], length: int) -> None:
    """Wait until a run's history has *length* events, or the run is closed."""
    count = 0
    async for _ in run.history(follow=True):
        count += 1
        if count >= length:
            return


async def history_of(run: Run[int]) -> list[events.Event]:
    """All of it, as it stands."""
    return [event async for event in run.history()]


def most_common(history: Sequence[events.Event]) -> int:
    """How often the same thing is recorded at most; 1 when all is well."""
    outcomes = (
        events.TaskCompleted,
        events.TaskFailed,
        events.TimerFired,
        events.TaskScheduled,
        events.TimerStarted,
    )
    counts = Counter((type(event), event.address) for event in history if isinstance(event, outcomes))
    return max(counts.values(), default=1)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
