"""Real workers that steal from each other, and what they wrote down of what they ran."""

import asyncio
from collections import Counter
from pathlib import Path

from aiki_client import Client
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import once_workflows as flows

MODULE = "tests.system.once_workflows"


def written(diary: Path) -> Counter[str]:
    """What ran, how often."""
    return Counter(diary.read_text(encoding="utf-8").splitlines()) if diary.exists() else Counter()


async def test_stealing_never_runs_a_started_task_twice(tmp_path: Path) -> None:
    """However eagerly they steal: every task runs once, and more than one worker runs some."""
    diary = tmp_path / "diary"
    environment = {"AIKI_TEST_DIARY": str(diary), "AIKI_SERVER_STEALING_AFTER_SECONDS": "0"}
    with LocalCluster(tmp_path) as cluster:
        cluster.start_coordinator(environment=environment)
        environment |= {"AIKI_WORKER_PREFETCH": "300"}
        cluster.start_worker("full", MODULE, slots=2, environment=environment)
        async with Client.connect(cluster.address) as client:
            run = await client.start(flows.naps, 300)
            await eventually(lambda: _has_begun(diary), "it has begun", seconds=60)
            environment |= {"AIKI_WORKER_PREFETCH": "3"}
            for name in ("second", "third"):
                cluster.start_worker(name, MODULE, slots=2, environment=environment)
            assert await run.result(timeout="50s") == 300
            ran_by = {
                event.worker async for event in run.history() if isinstance(event, events.TaskCompleted)
            }

    assert written(diary) == {f"nap {number}": 1 for number in range(300)}
    assert len(ran_by) > 1


async def test_what_runs_at_most_once_does_so_although_workers_die(tmp_path: Path) -> None:
    """Its outcome is unknown where its worker died meanwhile; what had not begun runs elsewhere."""
    diary = tmp_path / "diary"
    environment = {"AIKI_TEST_DIARY": str(diary)}
    with LocalCluster(tmp_path, lease_ttl="2s") as cluster:
        cluster.start_coordinator()
        cluster.start_worker(
            "first", MODULE, slots=4, environment={**environment, "AIKI_WORKER_PREFETCH": "8"}
        )
        async with Client.connect(cluster.address) as client:
            run = await client.start(flows.payments, 24)
            await eventually(lambda: _has_begun(diary), "some have begun", seconds=60)
            await asyncio.to_thread(cluster.kill, "first")
            begun = len(written(diary))
            cluster.start_worker("second", MODULE, slots=4, environment=environment)
            ends = await run.result(timeout="50s")

    assert all(count == 1 for count in written(diary).values())
    unknown = ends.count("unknown")
    assert 1 <= unknown <= begun + 4
    assert all(end in {"unknown", str(number)} for number, end in enumerate(ends))


async def _has_begun(diary: Path) -> bool:
    return len(written(diary)) > 3
