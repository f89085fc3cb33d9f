"""The program of a child process: runs attempts of tasks, one at a time.

Sync code runs on the main thread, where signals reach it; async code and lifespans on a loop in a thread of its own; a
third thread reads what the worker says. Invariant: when the worker is gone, so is the child.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib.util
import os
import queue
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any, Final, NoReturn

from aiki_task.context import TaskContext
from aiki_task.errors import AikiError, RetryAfter
from aiki_task.failures import from_exception
from aiki_task.lifespan import supply
from aiki_task.pulse import Pulse
from aiki_task.task import Task
from aiki_worker.errors import ModuleImportError
from aiki_worker.executors.calling import call_async, call_sync
from aiki_worker.executors.child_voice import Voice
from aiki_worker.executors.frames import (
    Broke,
    Gave,
    Leave,
    Order,
    PutOff,
    Ready,
    Setup,
    Splitter,
    Stop,
    Unfit,
)
from aiki_worker.executors.outcomes import Deferred, Outcome, Raised, Returned
from aiki_worker.executors.parent_death import die_with_parent
from aiki_worker.executors.told_errors import MAIN_IN_CHILD, types_of
from aiki_worker.handlers import Handlers, collect, import_module
from aiki_worker.resources import ResourceThread
from aiki_worker.tracing import Tracing, shut_down

READ_BYTES: Final = 2**16
UNFIT_STATUS: Final = 3


class TerminatedError(BaseException):
    """The worker has run out of patience. No `Exception`, so that it ends the author's code, too."""


class Child:
    """Listens to the worker on a thread, and obeys on this one."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self._inlet = inlet
        self.voice = Voice(outlet)
        self._orders: queue.SimpleQueue[Setup | Order | Leave] = queue.SimpleQueue()
        self._number = 0
        self._stopped = 0  # the greatest number that is not wanted any more
        self._pulse = Pulse()
        self._work: asyncio.Task[Outcome] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tracing = Tracing()

    def serve(self) -> int:
        """Until told to leave; the exit status."""
        threading.Thread(target=self._listen, name="aiki-worker", daemon=True).start()
        setup = self._orders.get()
        assert isinstance(setup, Setup)
        self.voice.carry_logs(setup.log_level)
        try:
            handlers = _load(setup)
            # After the modules, which may set OpenTelemetry up themselves.
            self._tracing = Tracing.of_process(f"{socket.gethostname()}:{os.getpid()}")
            with ResourceThread(handlers.lifespans) as resources:
                self._loop = resources.loop
                supply(resources.open)
                self.voice.say(Ready())
                while isinstance(order := self._orders.get(), Order):
                    self._obey(order, handlers.tasks[order.task], resources)
        except AikiError as error:
            self.voice.say(Unfit(reason=str(error)))
            return UNFIT_STATUS
        return 0

    def _obey(self, order: Order, task: Task[..., Any], resources: ResourceThread) -> None:
        pulse = Pulse(order.checkpoint)
        pulse.connect(lambda: None, is_async=task.is_async)
        context = TaskContext(
            run_id=order.run_id,
            workflow_id=order.workflow_id,
            address=order.address,
            attempt=order.attempt,
            deadline_ms=order.deadline_ms,
            completion_token=order.completion_token,
            pulse=pulse,
        )
        self._pulse, self._number = pulse, order.number
        if self._stopped >= order.number:
            pulse.cancelled = True
        with self.voice.beating(order.number, pulse), self._tracing.within(order.traceparent):
            outcome = self._outcome(task, context, order, resources)
        self._tell(order.number, outcome)

    def _outcome(
        self, task: Task[..., Any], context: TaskContext, order: Order, resources: ResourceThread
    ) -> Outcome:
        try:
            if not task.is_async:
                return call_sync(task, context, order.input)
            return resources.run(self._run_async(task, context, order, resources))
        except TerminatedError:
            raise
        except BaseException as error:  # noqa: BLE001  AttemptCancelled and the like
            return Raised(error, from_exception(error, attempts=context.attempt), 0)

    async def _run_async(
        self, task: Task[..., Any], context: TaskContext, order: Order, resources: ResourceThread
    ) -> Outcome:
        supply(resources.open)
        self._work = asyncio.current_task()
        if self._work is not None and self._stopped >= order.number:
            self._work.cancel()
        try:
            return await call_async(task, context, order.input)
        except asyncio.CancelledError as error:
            # Not left to the future between the threads, whose error of that name is another type.
            return Raised(error, from_exception(error, attempts=context.attempt), 0)
        finally:
            self._work = None

    def _tell(self, number: int, outcome: Outcome) -> None:
        match outcome:
            case Returned():
                self.voice.say(Gave(number=number, output=outcome.output, duration_ms=outcome.duration_ms))
            case Deferred():
                self.voice.say(PutOff(number=number, duration_ms=outcome.duration_ms))
            case Raised(error=error):
                broke = Broke(
                    number=number,
                    failure=outcome.failure,
                    types=types_of(error),
                    retry_after_s=error.delay.total_seconds() if isinstance(error, RetryAfter) else None,
                    duration_ms=outcome.duration_ms,
                )
                self.voice.say(broke)

    def _listen(self) -> None:
        """On a thread of its own, so that an attempt that computes can be told to stop."""
        splitter = Splitter()
        while data := os.read(self._inlet, READ_BYTES):
            for frame in splitter.take(data):
                match frame:
                    case Setup() | Order() | Leave():
                        self._orders.put(frame)
                    case Stop():
                        self._stop(frame.number)
                    case _:
                        raise RuntimeError(f"a worker never says {frame!r}")
        os._exit(1)  # The worker is gone.

    def _stop(self, number: int) -> None:
        self._stopped = number
        if number != self._number:
            return
        self._pulse.cancelled = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._cancel_work, number)

    def _cancel_work(self, number: int) -> None:
        if self._work is not None and number == self._number:
            self._work.cancel()


def _load(setup: Setup) -> Handlers:
    sys.path[:] = setup.path
    modules = [
        _import_main(setup.main_path) if name == "__main__" else import_module(name) for name in setup.modules
    ]
    return collect(modules)


def _import_main(path: str | None) -> ModuleType:
    """The program that the worker runs in, as a module: what its `__main__` guard protects does not run."""
    if path is None:
        return import_module(MAIN_IN_CHILD)
    spec = importlib.util.spec_from_file_location(MAIN_IN_CHILD, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN_IN_CHILD] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ModuleImportError(path, error) from error
    return module


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise TerminatedError


def main() -> NoReturn:
    """Serve the worker whose process id is the argument, over stdin and stdout."""
    # Whatever the author's code prints is a log.
    inlet, outlet = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    die_with_parent(int(sys.argv[1]))
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    status = 128 + signal.SIGTERM
    try:
        with suppress(TerminatedError):
            status = Child(inlet, outlet).serve()
        shut_down()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads that the author's code left must not keep the process.
        os._exit(status)


if __name__ == "__main__":
    main()
