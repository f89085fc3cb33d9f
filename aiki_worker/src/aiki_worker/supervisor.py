"""`aiki worker --processes N`: keeps N whole workers alive, each a process of its own.

Invariants: one that dies is replaced, later and later if it keeps dying; when this process goes, however it goes, so do
they all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

REFUSED: Final = frozenset({1, 2})
"""How a worker ends that would end so again: its module, its settings or its flags are wrong."""
SETTLED_SECONDS: Final = 10.0
RESTART_SECONDS_FIRST: Final = 1.0
RESTART_SECONDS_MAX: Final = 30.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Restarts:
    """When a worker that ended is started again. Pure; one for each place among the N."""

    _deaths: int = 0
    _settled: bool = False

    def delay_s(self, status: int, lived_s: float) -> float | None:
        """How long to wait for the next one; None: there is none, it would end alike."""
        if lived_s >= SETTLED_SECONDS:
            self._settled = True
            self._deaths = 0
        elif status in REFUSED and not self._settled:
            return None
        self._deaths += 1
        return min(RESTART_SECONDS_MAX, RESTART_SECONDS_FIRST * 2.0 ** min(self._deaths - 1, 10))


class Supervisor:
    """Starts, replaces and stops workers.

    Args:
        commands: the arguments of each worker, for `python -m aiki_worker`.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = commands
        self._workers: dict[int, Process] = {}
        self._stopping = asyncio.Event()
        self._signals = 0
        self._status = 0

    async def run(self) -> int:
        """Until a signal, or until a worker would never start; the exit status."""
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(
                    getattr(signal, name),
                    lambda number, _: loop.call_soon_threadsafe(self._on_signal, number),
                )
        log.info("keeping %d workers", len(self._commands))
        async with asyncio.TaskGroup() as group:
            for number, command in enumerate(self._commands, start=1):
                group.create_task(self._keep(number, command))
        return self._status

    async def _keep(self, number: int, command: Sequence[str]) -> None:
        restarts = Restarts()
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            worker = await self._start(number, command)
            status = await worker.wait()
            del self._workers[number]
            if self._stopping.is_set():
                return
            delay_s = restarts.delay_s(status, loop.time() - began)
            if delay_s is None:
                self._status = self._status or status
                self._stop()
                return
            log.warning(
                "worker %d (process %d) %s: starting another in %g s",
                number,
                worker.pid,
                _end(status),
                delay_s,
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _start(self, number: int, command: Sequence[str]) -> Process:
        arguments = (sys.executable, "-m", "aiki_worker", *command, "--parent", str(os.getpid()))
        # A terminal's Ctrl-C is for this process, which passes it on once.
        worker = await asyncio.create_subprocess_exec(*arguments, stdin=DEVNULL, start_new_session=True)
        self._workers[number] = worker
        if self._stopping.is_set():
            _signal(worker, kill=self._signals > 1)
        return worker

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("draining %d workers; a second signal stops them at once", len(self._workers))
        else:
            self._status = 128 + number
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers.values():
            _signal(worker, kill=self._signals > 1)


def commands_of(arguments: Sequence[str], *, processes: int, identity: str, http: str) -> list[Sequence[str]]:
    """The arguments of each of *processes* workers: each has a name of its own, and a port of its own."""
    commands: list[Sequence[str]] = []
    for number in range(1, processes + 1):
        own = ["--processes", "1", "--identity", f"{identity}/{number}"]
        if http:
            host, _, port = http.rpartition(":")
            own += ["--http", f"{host}:{int(port) + number - 1 if int(port) else 0}"]
        commands.append([*arguments, *own])
    return commands


def _signal(worker: Process, *, kill: bool) -> None:
    with suppress(ProcessLookupError):
        if kill:
            worker.kill()
        else:
            worker.terminate()


def _end(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
