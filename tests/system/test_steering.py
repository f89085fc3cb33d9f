"""Messages from a shell, a run's whole life on a terminal, and what does not fit."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from aiki_client import Client, RunState
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import language_workflows as flows

AIKI = (sys.executable, "-c", "import sys; from aiki_client.cli import main; sys.exit(main())")


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `language_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("steered")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", "tests.system.language_workflows")
        yield cluster


@pytest.fixture
async def client(steered: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(steered.address) as client:
        yield client


async def _aiki(steered: LocalCluster, command: str, *arguments: str) -> str:
    call = [*AIKI, "run", command, "--address", steered.address, *arguments]
    finished = await asyncio.to_thread(
        subprocess.run, call, capture_output=True, text=True, timeout=50, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


async def test_a_signal_that_does_not_fit(client: Client, steered: LocalCluster) -> None:
    """It is dropped, with a line in the worker's log, and the run waits for the next."""
    run = await client.start(flows.counts, 1)
    await _aiki(steered, "signal", run.run_id, "number", '"seven"')

    async def is_told() -> bool:
        return "drops a signal: signal 'number' does not fit its type" in steered.log("worker")

    await eventually(is_told, "the worker tells of it")
    await run.signal(flows.number, 7)
    assert await run.result("30s") == 7
    assert [signal.name for signal in (await run.describe()).signals] == ["number", "number"]


async def test_a_signal_that_is_sent_twice(client: Client, steered: LocalCluster) -> None:
    """From Python and from a shell: with the same dedupe id it is one, also after the run has closed."""
    run = await client.start(flows.counts.with_(id=f"twice-{uuid4().hex[:8]}"), 2)
    await run.signal(flows.number, 5, dedupe_id="first")
    await run.signal(flows.number, 5, dedupe_id="first")
    await _aiki(steered, "signal", run.run_id, "number", "5", "--dedupe-id", "first")
    await _aiki(steered, "signal", run.workflow_id, "number", "6", "--dedupe-id", "second")
    assert await run.result("30s") == 11
    await _aiki(steered, "signal", run.workflow_id, "number", "6", "--dedupe-id", "second")


async def test_a_start_with_a_signal(client: Client, steered: LocalCluster) -> None:
    """The signal is there before the code looks; a second one goes to the run that is there."""
    workflow_id = f"signalled-{uuid4().hex[:8]}"
    start = ("counts", "2", "--id", workflow_id, "--chain-timeout", "1h")
    await _aiki(steered, "start", *start, "--signal", "number", "3")
    await _aiki(steered, "start", *start, "--signal", "number", "4", "--id-policy", "return_existing")
    assert await (await client.run(workflow_id)).result("30s") == 7


async def test_a_run_on_a_terminal(client: Client, steered: LocalCluster) -> None:
    """`aiki run show --follow` draws over what it drew before, until the run is closed."""
    run = await client.start(flows.publishes)
    ours, theirs = pty.openpty()
    call = [*AIKI, "run", "show", run.run_id, "--follow", "--address", steered.address]
    showing = await asyncio.create_subprocess_exec(
        *call, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    drawn = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: drawn.extend(_read(ours)))

    async def shows(what: bytes) -> bool:
        return what in drawn

    try:
        await eventually(lambda: shows(b"waiting"), "it shows that the run waits")
        await run.signal(flows.go, "on")
        await eventually(lambda: shows(b"completed"), "it shows that the run is completed")
        assert await asyncio.wait_for(showing.wait(), 30) == 0
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        if showing.returncode is None:
            showing.kill()
            await showing.wait()
    # The cursor goes up before each picture but the first.
    assert b"\x1b[1A" in drawn


async def test_a_run_for_programs(client: Client, steered: LocalCluster) -> None:
    """Each change is a line, in order, with the same run in it."""
    run = await client.start(flows.publishes)

    async def waits() -> bool:
        return (await run.describe()).state is RunState.WAITING

    await eventually(waits, "the run waits")
    following = asyncio.create_task(_aiki(steered, "show", run.run_id, "--follow", "--json"))
    await run.signal(flows.go, "on")
    views = [json.loads(line) for line in (await following).splitlines()]
    assert views[-1]["state"] == "completed"
    assert {view["run_id"] for view in views} == {run.run_id}


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""
