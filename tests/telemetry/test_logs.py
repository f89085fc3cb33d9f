"""What code logs is kept with its run: once, bounded, and for people next to the history."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki_client import Client, LogLine, Run
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.telemetry import logging_workflows as flows

MODULE = "tests.telemetry.logging_workflows"
AIKI = (sys.executable, "-c", "import sys; from aiki_client.cli import main; sys.exit(main())")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """A coordinator."""
    with LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
        cluster.start_coordinator()
        yield cluster


def _start(cluster: LocalCluster, name: str, folder: Path, *options: str) -> None:
    cluster.start_worker(name, MODULE, options=options, environment={"LOGGING_FOLDER": str(folder)})


async def _lines(run: Run[str] | Run[int], *, follow: bool = False) -> list[LogLine]:
    return [line async for line in run.logs(follow=follow)]


def _told(lines: list[LogLine]) -> list[str]:
    return [line.message.partition("\n")[0] for line in lines]


async def test_each_line_is_kept_once(cluster: LocalCluster, tmp_path: Path) -> None:
    """Of the workflow, of tasks here, in a queue and in a process; also when another worker replays what was done."""
    _start(cluster, "first", tmp_path)
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.meet, "ada")

        async def is_greeted() -> bool:
            return "greeted" in _told(await _lines(run))

        await eventually(is_greeted, "it is greeted")
        await asyncio.to_thread(cluster.kill, "first")
        _start(cluster, "second", tmp_path)
        await run.signal(flows.go_on, "please")
        await run.result(timeout="40s")
        lines = await _lines(run)

    said = [
        "meeting ada",
        "greeting ada",
        "hat trouble",
        "greeted",
        "going on",
        "waving to=ada",
        "nodding to ada",
        "ada is gone",
    ]
    assert _told(lines) == said
    assert [line.worker for line in lines] == ["first"] * 4 + ["second"] * 4
    trouble, waving = lines[2], lines[5]
    assert trouble.level == "error"
    assert "ValueError: no such hat" in trouble.message
    assert (waving.level, waving.logger, waving.attempt) == ("warning", "shop.hands", 1)
    assert waving.address.startswith("wave")
    assert lines[0].address == ""

    command = (*AIKI, "logs", run.run_id, "--history", "--json", "--address", cluster.address)
    shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    mixed = [json.loads(line) for line in shown.stdout.splitlines()]
    order = [entry.get("kind") or entry["message"].partition("\n")[0] for entry in mixed]
    assert [entry for entry in order if entry in said] == said
    assert order.index("RunStarted") < order.index("greeting ada") < order.index("RunCompleted")


async def test_lines_of_a_long_attempt_are_seen_while_it_runs(cluster: LocalCluster, tmp_path: Path) -> None:
    """By those who follow; and those of the attempt that is made again after a kill."""
    _start(cluster, "first", tmp_path)
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.linger)
        following = asyncio.ensure_future(_lines(run, follow=True))

        async def hangs() -> bool:
            return "hanging about" in _told(await _lines(run))

        await eventually(hangs, "the line of the attempt is there before its end")
        assert not following.done()
        await asyncio.to_thread(cluster.kill, "first")
        _start(cluster, "second", tmp_path)

        assert await run.result(timeout="40s") == "done"
        async with asyncio.timeout(20):
            followed = await following

    assert _told(followed) == ["lingering", "hanging about", "hanging about"]
    assert [line.worker for line in followed] == ["first", "first", "second"]


async def test_what_is_too_much_is_dropped_and_counted(cluster: LocalCluster, tmp_path: Path) -> None:
    """The newest 1,000 lines stay."""
    _start(cluster, "worker", tmp_path)
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.chatter, 3000)
        await run.result(timeout="40s")
        lines = await _lines(run)

    assert len(lines) <= 1001
    assert sum("dropped" in line.message or "not kept" in line.message for line in lines) >= 1


async def test_nothing_is_kept_where_that_is_turned_off(cluster: LocalCluster, tmp_path: Path) -> None:
    """Nor does it reach the store."""
    environment = {"LOGGING_FOLDER": str(tmp_path), "AIKI_WORKER_RUN_LOGS": "off"}
    cluster.start_worker("worker", MODULE, options=["--log-format", "json"], environment=environment)
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.meet, "ada")
        await run.signal(flows.go_on, "please")
        await run.result(timeout="40s")
        assert await _lines(run) == []

    logged = [json.loads(line) for line in cluster.log("worker").splitlines() if line.startswith("{")]
    greeting = next(entry for entry in logged if entry["event"] == "greeting ada")
    meeting = next(entry for entry in logged if entry["event"] == "meeting ada")
    assert greeting["run_id"] == meeting["run_id"] == run.run_id
    assert greeting["attempt"] == 1
    assert greeting["task"].startswith("greet")
