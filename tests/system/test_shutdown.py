"""Ctrl-C once drains, twice stops at once, and neither leaves a process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from aiki_client import Client
from aiki_server.store.embedded import EmbeddedValkey
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system.chaos_workflows import expected, storm

SLEEPER = """
import aiki_sdk

@aiki_sdk.task
async def say() -> None:
    print("started", flush=True)

@aiki_sdk.workflow(version="1")
async def hello() -> None:
    await say()
    await aiki_sdk.sleep("1h")

aiki_sdk.run(hello)
"""
# The coordinator, the guardian of its store, the store, the worker.
FAMILY = 4
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
        return ready.exists() and len(psutil.Process(process.pid).children(recursive=True)) >= FAMILY

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
        return ready.exists() and len(psutil.Process(process.pid).children(recursive=True)) >= FAMILY

    await eventually(is_ready, "aiki dev is up")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()

    await eventually(lambda: _is_gone(children), f"{children} are gone")


def test_interrupted_program_says_little(tmp_path: Path) -> None:
    """Where `aiki_sdk.run` was called is told, and not where its loop was."""
    program = tmp_path / "sleeper.py"
    program.write_text(SLEEPER, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"

    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)

    assert process.returncode in {-signal.SIGINT, 130}
    assert told.count("Traceback") == 1
    assert told.endswith("KeyboardInterrupt\n")
    assert "asyncio" not in told


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


async def test_coordinator_ends_without_its_store(tmp_path: Path) -> None:
    """Nothing that it would still like to say may keep it."""
    store = EmbeddedValkey(tmp_path / "data")
    await store.__aenter__()
    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_coordinator(options=("--store", store.url))
        await store.__aexit__(None, None, None)
        begin = time.monotonic()

        status = cluster.stop("coordinator")

    assert status == 0
    assert time.monotonic() - begin < 10
