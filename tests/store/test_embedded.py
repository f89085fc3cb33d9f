"""The embedded server keeps what it acknowledged, and is never left behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from aiki_server.core.runs import Started
from aiki_server.store import StoreSettings, open_store
from aiki_server.store.embedded import SOCKET_PATH_BYTES_MAX, EmbeddedStoreError, EmbeddedValkey, socket_path
from tests.support.store import NAMESPACE, PARTITIONS, a_start, call
from tests.support.waiting import eventually

PARENT = """
import asyncio, sys
from pathlib import Path
from aiki_server.store.embedded import EmbeddedValkey

async def main():
    async with EmbeddedValkey(Path(sys.argv[1])) as valkey:
        print(valkey.server_pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_data_outlives_the_server(tmp_path: Path) -> None:
    """Stopped cleanly and started again, it has everything; nothing runs in between."""
    valkey = EmbeddedValkey(tmp_path / "a folder")
    start = a_start()
    async with valkey, open_store(StoreSettings(url=valkey.url, partitions=PARTITIONS)) as store:
        assert await store.runs.start(start) == Started(start.run_id, repeat=False)
        pid = valkey.server_pid
    assert not psutil.pid_exists(pid)

    async with valkey, open_store(StoreSettings(url=valkey.url, partitions=PARTITIONS)) as store:
        assert await store.runs.get(namespace=NAMESPACE, run_id=start.run_id) is not None


async def test_a_killed_server_is_started_again_and_lost_nothing(tmp_path: Path) -> None:
    """Calls made before, during and after the outage are answered as if it had not been; each took effect once."""
    async with (
        EmbeddedValkey(tmp_path) as valkey,
        open_store(StoreSettings(url=valkey.url, partitions=PARTITIONS)) as store,
    ):
        starts = [a_start() for _ in range(300)]
        outcomes: list[asyncio.Future[object]] = []
        for number, start in enumerate(starts):
            outcomes.append(asyncio.ensure_future(store.runs.start(start)))
            if number % 100 == 50:
                await asyncio.sleep(0)
                os.kill(valkey.server_pid, signal.SIGKILL)
                await outcomes[number - 25]
        for start, outcome in zip(starts, outcomes, strict=True):
            assert await outcome in {
                Started(start.run_id, repeat=False),
                Started(start.run_id, repeat=True),
            }
        for start in starts:
            assert await store.runs.history(run_id=start.run_id, first=0, count=10) == []
            record = await store.runs.get(namespace=NAMESPACE, run_id=start.run_id)
            assert record is not None
            assert record.mail == 1


async def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is told so, and the first does not notice."""
    async with EmbeddedValkey(tmp_path) as valkey:
        with pytest.raises(EmbeddedStoreError, match="in use by another Aiki"):
            await EmbeddedValkey(tmp_path).__aenter__()
        assert await call(valkey.url, "PING") == b"PONG"


async def test_the_server_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    """No clean-up code runs in the parent, and the folder is free for the next one."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    guardian = psutil.Process(pid).ppid()
    parent.kill()
    await parent.wait()

    async def gone() -> bool:
        return not psutil.pid_exists(pid) and not psutil.pid_exists(guardian)

    await eventually(gone, "the server and its guardian have ended")
    async with EmbeddedValkey(tmp_path) as valkey:
        assert await call(valkey.url, "PING") == b"PONG"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
async def test_the_server_goes_when_its_guardian_is_killed(tmp_path: Path) -> None:
    """Even the process that watches over it may be killed."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    psutil.Process(pid).parent().kill()  # type: ignore[union-attr]  # it has one

    async def gone() -> bool:
        return not psutil.pid_exists(pid)

    await eventually(gone, "the server has ended")
    parent.kill()
    await parent.wait()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """With the last lines of its log."""
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("nonsense", encoding="utf-8")
    with pytest.raises(EmbeddedStoreError, match=r"did not start: .*manifest"):
        await EmbeddedValkey(tmp_path).__aenter__()


def test_the_path_of_the_socket_is_short_enough(tmp_path: Path) -> None:
    """A deep folder has its socket elsewhere, always in the same place, and another for each folder."""
    assert socket_path(tmp_path).is_relative_to(tmp_path)
    deep = tmp_path / ("x" * 100)
    assert len(str(socket_path(deep))) <= SOCKET_PATH_BYTES_MAX
    assert socket_path(deep) == socket_path(deep) != socket_path(deep / "y")
