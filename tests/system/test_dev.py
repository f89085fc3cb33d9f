"""`aiki dev`: what it starts, restarts and stops, and what it refuses before it starts anything."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

import aiki_sdk
from aiki_client import Client, Run
from aiki_server.command import server
from tests.support.waiting import eventually
from tests.system.client_workflows import doze

FLOW = """
from aiki_sdk import signal, task, workflow

go = signal("go", str)

@task
async def colour(of: str) -> str:
    return f"{of}: COLOUR"

@workflow(version="1")
async def paint() -> list[str]:
    first = await colour("door")
    await go.wait()
    return [first, await colour("wall")]
"""
SLOW = """
import asyncio
from pathlib import Path
from aiki_sdk import task, workflow

@task
async def work(folder: str) -> str:
    Path(folder, "started").touch()
    while not Path(folder, "go on").exists():
        await asyncio.sleep(0.01)
    Path(folder, "done").touch()
    return "done"

@workflow(version="1")
async def slow(folder: str) -> str:
    return await work(folder)
"""


class Dev:
    """`aiki dev` as a terminal runs it, in a folder with one module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = folder / "painting.py"
        self.log_file = folder / "dev.log"
        self.address = f"127.0.0.1:{_free_port()}"
        self.process: subprocess.Popen[bytes] | None = None
        self.children: list[psutil.Process] = []

    def start(self, *options: str) -> None:
        command = ["-m", "aiki_server", "dev", *options, "--listen", self.address, "--data", "data"]
        self.run(*command)

    def run(self, *command: str) -> None:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    async def says(self, text: str, times: int = 1) -> None:
        async def said() -> bool:
            return self.log.count(text) >= times

        await eventually(said, f"aiki dev says {text!r} {times} times")
        self.children = psutil.Process(self.pid).children(recursive=True)

    def interrupt(self) -> None:
        os.killpg(self.pid, signal.SIGINT)

    async def ends(self) -> int:
        """Its exit status, once everything it started is gone."""
        process = self.process
        assert process is not None

        async def is_gone() -> bool:
            return process.poll() is not None and not psutil.wait_procs(self.children, timeout=0)[1]

        await eventually(is_gone, f"{self.children} are gone")
        return process.returncode


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """Not started yet; gone after the test."""
    dev = Dev(tmp_path)
    yield dev
    for process in [dev.process, *dev.children]:
        if process is not None and process.pid and psutil.pid_exists(process.pid):
            process.kill()
            process.wait()


def _paint(dev: Dev, colour: str) -> None:
    dev.module.write_text(FLOW.replace("COLOUR", colour), encoding="utf-8")


async def _has_events(run: Run[Any], count: int) -> bool:
    return (await run.describe()).history_length >= count


async def test_reload(dev: Dev) -> None:
    """A run that waits goes on with the new code; code that does not import waits for the next change."""
    _paint(dev, "red")
    dev.start("painting", "--reload")
    await dev.says("connected to")
    async with Client.connect(dev.address) as client:
        run = await client.start_by_name("paint")
        await eventually(lambda: _has_events(run, 3), "the door is painted")

        dev.module.write_text("def (", encoding="utf-8")
        await dev.says("the worker starts again when the code changes")
        _paint(dev, "blue")
        await dev.says("connected to", times=2)
        await run.signal_by_name("go", "")
        assert await run.result(timeout="30s") == ["door: red", "wall: blue"]

    assert dev.log.count("cannot be imported") == 1
    _paint(dev, "green")
    await dev.says("code changed", times=3)
    dev.interrupt()
    assert await dev.ends() == 0
    assert "Traceback" not in dev.log


async def test_interrupted_once_it_drains(dev: Dev) -> None:
    """What runs is finished by the worker, and only then the coordinator goes."""
    dev.module.write_text(SLOW, encoding="utf-8")
    dev.start("painting")
    await dev.says("connected to")
    async with Client.connect(dev.address) as client:
        await client.start_by_name("slow", str(dev.folder))

        async def is_started() -> bool:
            return (dev.folder / "started").exists()

        await eventually(is_started, "the task has started")
    dev.interrupt()
    await dev.says("draining")
    (dev.folder / "go on").touch()

    assert await dev.ends() == 0
    assert (dev.folder / "done").exists()
    worker, coordinator = [line for line in dev.log.splitlines() if "draining" in line]
    assert "aiki_worker" in worker
    assert "aiki_worker" not in coordinator


async def test_interrupted_twice_it_stops_at_once(dev: Dev) -> None:
    """Not even work that never ends keeps it."""
    dev.module.write_text(SLOW, encoding="utf-8")
    dev.start("painting")
    await dev.says("connected to")
    async with Client.connect(dev.address) as client:
        run = await client.start_by_name("slow", str(dev.folder))
        await eventually(lambda: _has_events(run, 2), "the task is scheduled")
    dev.interrupt()
    await dev.says("draining")
    dev.interrupt()

    assert await dev.ends() == 128 + signal.SIGINT
    assert not (dev.folder / "done").exists()


async def test_a_killed_worker_is_replaced(dev: Dev) -> None:
    """Nobody has to look after it."""
    _paint(dev, "red")
    dev.start("painting")
    await dev.says("connected to")
    (worker,) = [process for process in dev.children if "aiki_worker" in process.cmdline()]
    worker.kill()

    await dev.says("connected to", times=2)
    dev.interrupt()
    assert await dev.ends() == 0


async def test_a_worker_that_cannot_start_ends_it(dev: Dev) -> None:
    """One sentence, once, and nothing is left."""
    dev.start("no_such_module")
    await dev.says("cannot be imported")

    assert await dev.ends() == 1
    assert dev.log.count("cannot be imported") == 1
    assert "Traceback" not in dev.log


async def test_a_second_one_on_the_same_folder_is_refused(dev: Dev) -> None:
    """And the first one goes on."""
    dev.start()
    await dev.says("serving")
    second = Dev(dev.folder)
    second.log_file = dev.folder / "second.log"
    second.start()

    assert await second.ends() == 3
    assert "in use by another Aiki" in second.log
    async with Client.connect(dev.address) as client:
        assert [run async for run in client.list()] == []
    dev.interrupt()
    assert await dev.ends() == 0


async def test_the_store_of_the_settings_is_not_its_own(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is embedded stays so, although a server in this environment would use another store."""
    monkeypatch.setenv("AIKI_SERVER_STORE", "redis://127.0.0.1:1")
    dev.start()
    await dev.says("serving")
    dev.interrupt()
    assert await dev.ends() == 0

    assert await asyncio.to_thread(aiki_sdk.run, doze, "0s") == "rested"


async def test_a_server_without_uvloop(dev: Dev) -> None:
    """As on Windows, where there is none; its logs are JSON for those who want that."""
    program = (
        "import sys; sys.modules['uvloop'] = None; from aiki_server.command import main; main(sys.argv[1:])"
    )
    options = ["--listen", dev.address, "--data", "data", "--log-format", "json"]
    dev.run("-c", program, "server", *options)
    await dev.says("serving")
    async with Client.connect(dev.address) as client:
        assert [run async for run in client.list()] == []
    dev.interrupt()

    assert await dev.ends() == 0
    logged = [json.loads(line) for line in dev.log.splitlines()]
    assert {"event": "serving", "level": "info", "address": dev.address}.items() <= {
        (name, value) for line in logged for name, value in line.items()
    }


@pytest.mark.parametrize("command", [["server", "--data", "data", "--listen", "127.0.0.1:0"], ["worker"]])
async def test_a_parent_that_is_gone_already(command: Sequence[str], dev: Dev) -> None:
    """A process that is started by one that dies at once does not stay."""
    _paint(dev, "red")
    program = ["aiki_server", *command] if command[0] == "server" else ["aiki_worker", "painting"]
    dev.run("-m", *program, "--parent", str(psutil.Process().ppid()))

    await dev.ends()


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        (["--listen", "nonsense"], "'nonsense' is no address: write HOST:PORT", 2),
        (["--listen", "127.0.0.1:65536"], "is no address", 2),
        (["--listen", "no-such-host.invalid:0"], "no-such-host.invalid is not known", 3),
        (["--listen", "192.0.2.1:0"], "choose another address with --listen", 3),
        (["--store", "http://localhost"], "no address of a store", 2),
        (["--store", "redis://localhost:x"], "no address of a store", 2),
        (["--lease-ttl", "0s"], "lease_ttl_seconds", 2),
        (["--lease-ttl", "soon"], "'soon' is not a duration", 2),
        (["--data", "file/data"], "cannot be written (Not a directory)", 3),
        (["--ready-file", "file/ready"], "cannot be written (File exists)", 3),
    ],
)
def test_refused_before_anything_starts(
    arguments: list[str], told: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence on stderr, a status, and no folder is made for a store that never runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    refused = CliRunner().invoke(server, ["--listen", "127.0.0.1:0", "--data", "data", *arguments])

    assert refused.exit_code == status
    assert (refused.stdout, refused.stderr.splitlines()[-1].count(told)) == ("", 1)
    assert not (tmp_path / "data" / "valkey.conf").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_taken_port_is_refused(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when only one of the addresses of `localhost` is taken."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = CliRunner().invoke(server, ["--listen", f"{host}:{port}"])

    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr.startswith(f"aiki server: cannot listen at {host}:{port}: the port is taken")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "variables", "told"),
    [
        ("[server]\nlisten_on = 'x'", {}, "listen_on: there is no such setting (known are listen, "),
        ("[sever]\nlisten = 'x'", {}, "[sever] is unknown"),
        ("server = 3", {}, "[server] must be a table"),
        ("[server", {}, "aiki.toml cannot be read"),
        ("", {"AIKI_SERVER_PARTITIONS": "many"}, "partitions: "),
        ("", {"AIKI_SERVER_LEASE_TTL_SECONDS": "inf"}, "lease_ttl_seconds: "),
        ("", {"AIKI_CONFIG": "no-such-file.toml"}, "no-such-file.toml cannot be read"),
    ],
)
def test_wrong_settings(
    text: str, variables: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the environment are told apart from what they say, in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aiki.toml").write_text(text, encoding="utf-8")

    refused = CliRunner(env=variables).invoke(server, ["--data", "data"])

    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert told in refused.stderr
