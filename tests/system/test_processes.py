"""Child processes and resources of real workers."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system.process_workflows import computing, crashing

MODULE = "tests.system.process_workflows"


@pytest.fixture(scope="module")
def process_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator."""
    with LocalCluster(tmp_path_factory.mktemp("processes")) as cluster:
        cluster.start_coordinator()
        yield cluster


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the resource leaves its traces."""
    traces = tmp_path / "traces"
    traces.mkdir()
    return traces


def _start(cluster: LocalCluster, name: str, folder: Path) -> psutil.Process:
    options = ("--task-processes", "1", "--grace", "1s")
    cluster.start_worker(name, MODULE, options=options, environment={"TRACES": str(folder)})
    return psutil.Process(cluster.pid(name))


async def _is_gone(process: psutil.Process) -> bool:
    return not psutil.wait_procs([process], timeout=0)[1]


async def _computes(folder: Path) -> None:
    async def computes() -> bool:
        return any(folder.glob("computes.*"))  # noqa: ASYNC240  made by a child

    await eventually(computes, "the child computes")


def _child(worker: psutil.Process) -> psutil.Process:
    (child,) = worker.children()
    return child


async def test_crashes_fail_attempts_and_nothing_else(process_cluster: LocalCluster, folder: Path) -> None:
    """The worker lives, retries go on, and the run is told what happened; resources are opened once a process."""
    worker = _start(process_cluster, "crashing", folder)
    async with Client.connect(process_cluster.address) as client:
        run = await client.start(crashing)
        assert await run.result(timeout="50s") == [
            str(folder),
            str(folder),
            f"1 in {folder.name}, attempt 2",
            f"2 in {folder.name}, attempt 2",
            "SIGSEGV",
        ]
    assert process_cluster.is_alive("crashing")
    assert (folder / f"opened.{worker.pid}").exists()
    # Faulthandler tells where.
    assert "in crash_once" in process_cluster.log("crashing")

    assert process_cluster.stop("crashing") == 0
    assert (folder / f"closed.{worker.pid}").exists()


async def test_a_killed_worker_leaves_no_child(process_cluster: LocalCluster, folder: Path) -> None:
    """Even while the child computes; the run goes on elsewhere."""
    worker = _start(process_cluster, "killed", folder)
    async with Client.connect(process_cluster.address) as client:
        run = await client.start(computing, 3)

        await _computes(folder)
        child = _child(worker)
        process_cluster.kill("killed")
        await eventually(lambda: _is_gone(child), "the child is gone")

        other = _start(process_cluster, "other", folder)
        assert await run.result(timeout="50s") == _child(other).pid
    process_cluster.stop("other")


async def test_a_cancelled_run_ends_what_computes(process_cluster: LocalCluster, folder: Path) -> None:
    """SIGTERM after the grace; the next attempt has a new child."""
    worker = _start(process_cluster, "cancelled", folder)
    async with Client.connect(process_cluster.address) as client:
        run = await client.start(computing, 3000)

        await _computes(folder)
        child = _child(worker)
        await run.cancel()
        await eventually(lambda: _is_gone(child), "the child is gone")
        assert await (await client.start(computing, 0)).result(timeout="50s") != child.pid
    process_cluster.stop("cancelled")


async def test_a_worker_without_its_resource_does_not_start(
    process_cluster: LocalCluster, tmp_path: Path
) -> None:
    """It says why, in one sentence, and ends with a status of its own."""
    _start(process_cluster, "poor", tmp_path / "missing")
    process = process_cluster.processes["poor"]

    async def has_ended() -> bool:
        return process.poll() is not None

    await eventually(has_ended, "the worker has ended")
    log = process_cluster.log("poor")
    assert process_cluster.stop("poor") == 3
    assert "the resource 'traces' could not be opened: FileNotFoundError:" in log
    assert "connected to" not in log


async def test_a_drained_worker_ends_its_children(process_cluster: LocalCluster, folder: Path) -> None:
    """What computes has the grace; then it is ended, and the resource of the worker is closed last."""
    worker = _start(process_cluster, "drained", folder)
    async with Client.connect(process_cluster.address) as client:
        run = await client.start(computing, 3000)

        await _computes(folder)
        child = _child(worker)
        worker.send_signal(signal.SIGTERM)
        await eventually(lambda: _is_gone(worker), "the worker is gone")
        assert await _is_gone(child)
        assert (folder / f"closed.{worker.pid}").exists()
        await run.cancel()


UNGUARDED = """
import aiki_sdk
from aiki_sdk import Retry, task, workflow

@task(executor="process", retry=Retry(1))
def one() -> int:
    return 1

@workflow
async def count() -> int:
    return await one()

aiki_sdk.run(count)
"""


def test_a_program_without_a_guard_is_told_so(tmp_path: Path) -> None:
    """Its child does not start the program over again."""
    program = tmp_path / "unguarded.py"
    program.write_text(UNGUARDED, encoding="utf-8")

    finished = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)

    assert finished.returncode == 1
    assert 'under if __name__ == "__main__":' in finished.stderr
    assert "TaskFailed: task 'one' failed" in finished.stderr


WARNING = """
import logging
import aiki_sdk
from aiki_sdk import task, workflow

@task
def warn() -> None:
    logging.getLogger("theirs").warning("warned in a thread")

@task(executor="process")
def warn_in_process() -> None:
    logging.getLogger("theirs").warning("warned in a process")

@workflow
async def warns() -> None:
    await warn()
    await warn_in_process()

if __name__ == "__main__":
    aiki_sdk.run(warns)
"""


def test_a_program_without_logging_shows_warnings(tmp_path: Path) -> None:
    """As Python does where nothing is configured, once each."""
    program = tmp_path / "warning.py"
    program.write_text(WARNING, encoding="utf-8")

    finished = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)

    assert finished.stderr.count("warned in a thread") == 1
    assert finished.stderr.count("warned in a process") == 1
