"""`aiki replay`: real histories against other code, on real processes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import reset_workflows as flows

CHANGED = """
from aiki_sdk import workflow
from tests.system.reset_workflows import double, number

@workflow
async def adds_up(count: int) -> int:
    total = 0
    for _ in range(count):
        total += await double(await number.wait() + 1)
    return total
"""


@pytest.fixture(scope="module")
def replay_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `reset_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("replay")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", "tests.system.reset_workflows")
        yield cluster


def _aiki(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("aiki")), *arguments]
    environment = {"PYTHONPATH": f"{Path.cwd()}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=60
    )


async def test_runs_that_would_diverge_are_named(replay_cluster: LocalCluster, tmp_path: Path) -> None:
    """With the call and its line; the same code agrees with a file, a run and all that are open."""
    (tmp_path / "changed.py").write_text(CHANGED)
    async with Client.connect(replay_cluster.address) as client:
        run = await client.start(flows.adds_up.with_(id=f"replayed-{uuid4().hex[:8]}"), 2)
        await run.signal(flows.number, 3)

        async def is_halfway() -> bool:
            return bool((await run.describe()).published)

        await eventually(is_halfway, "the run is halfway")
    where = ["--address", replay_cluster.address]
    saved = tmp_path / "history.json"

    done = _aiki("run", "history", run.run_id, "--save", str(saved), *where, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for which in (["--history", str(saved)], ["--run", run.workflow_id, *where], ["--all-open", *where]):
        same = _aiki("replay", "tests.system.reset_workflows", *which, folder=tmp_path)
        assert same.returncode == 0, same.stdout + same.stderr
        assert "1 replayed: 1 agree" in same.stderr
        other = _aiki("replay", "changed", *which, folder=tmp_path)
        assert other.returncode == 1, other.stdout + other.stderr
        assert f"adds_up v1 {run.run_id} ({run.workflow_id}): the code does task 'double/" in other.stdout
        assert "changed.py:9" in other.stdout

    assert '"runtime": "python 3.' in saved.read_text()
    saved.write_text(re.sub(r'"python 3\.\d+"', '"python 3.8"', saved.read_text()))
    older = _aiki("replay", "tests.system.reset_workflows", "--history", str(saved), folder=tmp_path)
    assert older.returncode == 0, older.stdout
    assert "1 ran with python 3.8 until now" in older.stderr

    told = _aiki("replay", "changed", "--json", "--history", str(saved), folder=tmp_path)
    assert json.loads(told.stdout)["line"].endswith("changed.py:9")


def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    """Each message says what is wrong."""
    (tmp_path / "none.json").write_text("{}")
    for arguments, told in [
        (["tests.system.reset_workflows"], "say which"),
        (["tests.system.reset_workflows", "--history", "none.json"], "none.json has no history"),
        (["nowhere", "--history", "none.json"], "nowhere"),
    ]:
        result = _aiki("replay", *arguments, folder=tmp_path)
        assert result.returncode != 0
        assert told in result.stderr
