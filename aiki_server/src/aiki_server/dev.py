"""`aiki dev`: a coordinator with an embedded store and, if asked, a worker that restarts on changes.

Both are processes of their own that a terminal's Ctrl-C does not reach. Invariants: the worker goes before
the coordinator it hangs on, and when this process goes, however it goes, so do both.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

POLL_SECONDS: Final = 0.05
RESTART_SECONDS: Final = 1.0
# How a worker ends that would end so again: its module, its settings or its flags are wrong.
REFUSED: Final = frozenset({1, 2})


class Supervisor:
    """Starts, restarts and stops the two processes.

    Args:
        module: what the worker serves; None: no worker.
        reload: restart the worker when code below this folder changes.
        ready_file: where the coordinator writes its address.
    """

    def __init__(self, module: str | None, ready_file: Path, *, reload: bool) -> None:
        self._module = module
        self._reload = reload
        self._ready_file = ready_file
        self._children: list[Process] = []
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._signals = 0
        self._status = 0

    async def run(self, coordinator: Sequence[str]) -> int:
        """Until a signal, or until one of the two cannot go on; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        server = await self._start("aiki_server", "server", *coordinator)
        ended = asyncio.create_task(server.wait())
        ended.add_done_callback(lambda _: self._stopping.set())
        try:
            if self._module is not None:
                await self._work(self._module)
            await self._stopping.wait()
        finally:
            _terminate(server)
            status = await ended
        return self._status or (status if status >= 0 else 128 - status)

    async def _work(self, module: str) -> None:
        """Keep a worker until it is time to stop, and stop it."""
        while not self._ready_file.exists():
            if await self._stops_within(POLL_SECONDS):
                return
        address = json.loads(self._ready_file.read_text(encoding="utf-8"))["address"]
        async with asyncio.TaskGroup() as group:
            if self._reload:
                group.create_task(self._watch())
            while not self._stopping.is_set():
                self._changed.clear()
                worker = await self._start("aiki_worker", module, "--address", address)
                if await self._ends_by_itself(worker):
                    await self._after(worker)

    async def _ends_by_itself(self, worker: Process) -> bool:
        """Wait until it does; or until the code changes or all stops, and then end it."""
        ended = asyncio.create_task(worker.wait())
        reasons = [asyncio.create_task(event.wait()) for event in (self._stopping, self._changed)]
        await asyncio.wait({ended, *reasons}, return_when=asyncio.FIRST_COMPLETED)
        for reason in reasons:
            reason.cancel()
        by_itself = ended.done()
        _terminate(worker)
        await ended
        return by_itself

    async def _after(self, worker: Process) -> None:
        """Whether and when there is to be another worker."""
        assert worker.returncode is not None
        if worker.returncode not in REFUSED:
            click.echo(f"the worker ended with status {worker.returncode}: starting another", err=True)
            await self._stops_within(RESTART_SECONDS)
        elif self._reload:
            click.echo("the worker starts again when the code changes", err=True)
            while not self._changed.is_set() and not await self._stops_within(POLL_SECONDS):
                pass
        else:
            self._status = worker.returncode
            self._stopping.set()

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch  # pyright: ignore[reportUnknownVariableType]  trio's part

        async for _ in awatch(Path.cwd(), watch_filter=PythonFilter(), stop_event=self._stopping):
            click.echo("code changed: restarting the worker", err=True)
            self._changed.set()

    async def _start(self, module: str, *arguments: str) -> Process:
        command = (sys.executable, "-m", module, *arguments, "--parent", str(os.getpid()))
        child = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, start_new_session=True)
        self._children.append(child)
        if self._signals > 1:
            _kill(child)
        return child

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            self._status = 128 + number
            for child in self._children:
                _kill(child)
        elif self._module is not None:
            click.echo("stopping; Ctrl-C again stops at once", err=True)


@click.command()
@click.argument("module", required=False)
@click.option("--listen", metavar="HOST:PORT", help="where to serve (default 127.0.0.1:7700)")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("aiki-data"),
    show_default=True,
    help="the folder of the store",
)
@click.option("--reload", is_flag=True, help="restart the worker when code below this folder changes")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="write the address here, as JSON, once it serves"
)
def dev(
    module: str | None,
    listen: str | None,
    data: Path,
    reload: bool,  # noqa: FBT001  click passes by name
    ready_file: Path | None,
) -> None:
    """Run a coordinator with an embedded store and, for MODULE, a worker.

    Ctrl-C once drains the worker, then the coordinator; twice stops both at once.
    """
    _refuse_what_is_missing(module, reload=reload)
    with TemporaryDirectory(prefix="aiki-dev-", ignore_cleanup_errors=True) as scratch:
        ready = Path(scratch) / "ready" if ready_file is None else ready_file
        with suppress(OSError):  # The coordinator tells if it cannot be written.
            ready.unlink(missing_ok=True)
        # No store: the embedded one, whatever aiki.toml and the environment say.
        coordinator = ["--store", "", "--data", str(data), "--ready-file", str(ready)]
        if listen is not None:
            coordinator += ["--listen", listen]
        with asyncio.Runner() as runner:
            status = runner.run(Supervisor(module, ready, reload=reload).run(coordinator))
    sys.exit(status)


def _refuse_what_is_missing(module: str | None, *, reload: bool) -> None:
    if sys.platform == "win32":
        raise click.UsageError(
            "the embedded store does not exist for Windows: use 'aiki server --store URL', or WSL"
        )
    if module is None and reload:
        raise click.UsageError("--reload restarts the worker of a MODULE: name one, such as shop")
    if module is not None and find_spec("aiki_worker") is None:
        raise click.UsageError("a worker for MODULE is not installed here: pip install aiki-worker")


def _terminate(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
