"""`aiki worker MODULE --processes N` with real workers."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system.client_workflows import doze

MODULE = "tests.system.client_workflows"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator alone."""
    with LocalCluster(tmp_path_factory.mktemp("supervised")) as cluster:
        cluster.start_coordinator()
        yield cluster


def _start(cluster: LocalCluster, name: str, module: str = MODULE) -> psutil.Process:
    cluster.start_worker(name, module, options=("--processes", "2"))
    return psutil.Process(cluster.pid(name))


async def _connected(cluster: LocalCluster, name: str, times: int) -> None:
    async def are_connected() -> bool:
        return cluster.log(name).count("connected to") >= times

    await eventually(are_connected, f"{times} workers of {name} have connected")


async def _all_gone(processes: list[psutil.Process]) -> None:
    async def are_gone() -> bool:
        return not psutil.wait_procs(processes, timeout=0)[1]

    await eventually(are_gone, f"{processes} are gone")


async def test_one_that_dies_is_replaced_and_a_signal_drains_all(cluster: LocalCluster) -> None:
    """Each has a name; what runs meanwhile is done by whoever lives."""
    parent = _start(cluster, "two")
    await _connected(cluster, "two", 2)
    workers = parent.children()
    assert sorted(process.cmdline()[process.cmdline().index("--identity") + 1] for process in workers) == [
        "two/1",
        "two/2",
    ]
    workers[0].kill()
    await _connected(cluster, "two", 3)
    assert "was ended by SIGKILL: starting another in 1 s" in cluster.log("two")
    async with Client.connect(cluster.address) as client:
        assert await (await client.start(doze, "0s")).result(timeout="30s") == "rested"

    workers = parent.children()
    assert len(workers) == 2
    assert cluster.stop("two") == 0
    assert cluster.log("two").count("draining: running work has") == 2
    await _all_gone(workers)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
async def test_nobody_is_left(kill: signal.Signals, cluster: LocalCluster) -> None:
    """Whether the command is killed, or interrupted twice."""
    name = f"left-{kill.name}"
    parent = _start(cluster, name)
    await _connected(cluster, name, 2)
    workers = parent.children()

    os.kill(parent.pid, kill)
    if kill == signal.SIGINT:
        os.kill(parent.pid, kill)
    await _all_gone([parent, *workers])


async def test_a_module_that_cannot_be_imported_ends_it(cluster: LocalCluster) -> None:
    """With the status of the workers."""
    _start(cluster, "wrong", "no_such_module")
    process = cluster.processes["wrong"]

    async def has_ended() -> bool:
        return process.poll() is not None

    await eventually(has_ended, "the command has ended")
    assert process.returncode == 1
    assert "module 'no_such_module' cannot be imported" in cluster.log("wrong")
    assert "Traceback" not in cluster.log("wrong")
