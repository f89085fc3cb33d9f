"""Ctrl-C once drains, twice stops at once, and neither leaves a process behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system.chaos_workflows import expected, storm

DEV = [sys.executable, "-m", "aiki_server", "dev", "tests.system.slow_workflows", "--listen", "127.0.0.1:0"]


def _start_dev(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    ready = folder / "ready"
    with (folder / "dev.log").open("wb") as log:
        command = [*DEV, "--data", str(folder / "data"), "--ready-file", str(ready)]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    return process, ready


async def _is_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=0)[1]


@pytest.mark.parametrize("times", [1, 2])
async def test_interrupted_dev_leaves_no_process(times: int, tmp_path: Path) -> None:
    """The coordinator, the worker and the store all go."""
    process, ready = _start_dev(tmp_path)

    async def is_ready() -> bool:
        return ready.exists() and len(psutil.Process(process.pid).children(recursive=True)) >= 2

    await eventually(is_ready, "aiki dev is up")
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for _ in range(times):
        # As a terminal does it: to the whole foreground group.
        os.killpg(process.pid, signal.SIGINT)

    await eventually(lambda: _is_gone(family), f"{family} are gone: {(tmp_path / 'dev.log').read_text()}")
    process.wait()


async def test_killed_dev_leaves_no_process(tmp_path: Path) -> None:
    """Not even SIGKILL of the parent leaves a server behind."""
    process, ready = _start_dev(tmp_path)

    async def is_ready() -> bool:
        return ready.exists() and len(psutil.Process(process.pid).children(recursive=True)) >= 2

    await eventually(is_ready, "aiki dev is up")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()

    await eventually(lambda: _is_gone(children), f"{children} are gone")


async def test_terminated_worker_hands_its_runs_back(tmp_path: Path) -> None:
    """A drained worker ends cleanly, and another finishes the run well before a lease could expire."""
    with LocalCluster(tmp_path / "cluster", lease_ttl="30s") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker-1", "tests.system.chaos_workflows")
        async with Client.connect(cluster.address) as client:
            run = await client.start(storm, 1)
            async for _ in run.history(follow=True):
                break
            status = cluster.stop("worker-1")
            cluster.start_worker("worker-2", "tests.system.chaos_workflows")
            result = await run.result(timeout="20s")

    assert status == 0
    assert result == expected(1)
