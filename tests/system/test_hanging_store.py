"""A store that hangs: it has a connection, and answers nothing."""

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from aiki_server.store.embedded import EmbeddedValkey
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system.test_chaos import free_port


async def test_a_coordinator_is_not_ready_while_its_store_hangs(tmp_path: Path) -> None:
    """It says so within seconds, stays alive, and is ready again by itself."""
    http = f"127.0.0.1:{free_port()}"

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{http}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    async def is_ready() -> bool:
        return ask("/readyz")[0] == 200

    async def is_not() -> bool:
        return not await is_ready()

    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster") as cluster:
            cluster.start_coordinator(options=("--store", store.url, "--http", http))
            await eventually(is_ready, "the coordinator is ready")
            hangs = psutil.Process(store.server_pid)
            os.kill(hangs.pid, signal.SIGSTOP)
            try:
                await eventually(is_not, "the coordinator is not ready")
                assert "has not answered" in ask("/readyz")[1]
                assert ask("/livez") == (200, "alive\n")
            finally:
                os.kill(hangs.pid, signal.SIGCONT)
            await eventually(is_ready, "the coordinator is ready again")
