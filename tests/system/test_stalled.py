"""A bug in workflow code parks the run; fixed code picks it up."""

from pathlib import Path
from typing import Any

import pytest

from aiki_client import Client, Run, RunStalled
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually

MODULE = """
from pathlib import Path
from aiki_sdk import task, workflow

@task
async def charge(attempts: str) -> str:
    with Path(attempts).open("a", encoding="utf-8") as file:
        file.write("charged\\n")
    return "receipt"

@workflow(version="1")
async def buy(attempts: str) -> str:
    receipt = await charge(attempts)
    return {expression}
"""


async def test_fixed_worker_resumes_a_stalled_run(tmp_path: Path) -> None:
    """The traceback names the line; the fixed worker goes on without charging again."""
    attempts = tmp_path / "attempts"
    module = tmp_path / "shop_under_repair.py"
    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_coordinator()
        _start_worker(cluster, module, "receipt.no_such_method()")
        async with Client.connect(cluster.address) as client:
            run = await client.start_by_name("buy", str(attempts), workflow_id="order-1")
            with pytest.raises(RunStalled) as stalled:
                await run.result(timeout="30s")
            assert "no_such_method" in str(stalled.value)

            cluster.stop("worker")
            _start_worker(cluster, module, "receipt.upper()")
            await eventually(lambda: _goes_on(run), "the fixed worker takes the stalled run")
            result = await run.result(timeout="30s")

    assert result == "RECEIPT"
    assert attempts.read_text(encoding="utf-8") == "charged\n"


async def _goes_on(run: Run[Any]) -> bool:
    return (await run.describe()).state.name != "STALLED"


def _start_worker(cluster: LocalCluster, module: Path, expression: str) -> None:
    module.write_text(MODULE.format(expression=expression), encoding="utf-8")
    cluster.start_worker("worker", module.stem, environment={"PYTHONPATH": str(module.parent)})
