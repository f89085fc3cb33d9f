"""Drive the code of one run: feed inputs, get commands. Replay and live execution are one path.

The engine does no I/O and knows no clock: same code and same history give the same commands. It is
used from one thread, from plain code or callbacks, never inside an asyncio task.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiki_task.errors import DefinitionError, Failure, PayloadError
from aiki_task.failures import from_exception, to_exception
from aiki_task.payloads import Payload
from aiki_task.task import Task
from aiki_workflow import events
from aiki_workflow.definition import Workflow
from aiki_workflow.errors import DivergedError, WorkflowBugError
from aiki_workflow.logs import report_unhandled
from aiki_workflow.loop import RunFuture, RunLoop, RunTask, TaskFuture
from aiki_workflow.recorded import Recorded

__all__ = ["DivergedError", "OpenTask", "RunEngine", "RunInfo", "WorkflowBugError"]

ANY_FAILURE = (Failure, TimeoutError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Which run it is."""

    namespace: str
    run_id: str
    workflow_id: str
    workflow: str
    version: str
    queue: str


@dataclass(slots=True)
class OpenTask:
    """A task whose outcome was not fed yet, and what the notes of the history say of it.

    Attributes:
        retry_at_ms: while a delay after a failed attempt runs: when it is over.
    """

    address: str
    call: Task[..., Any]
    input: Payload
    attempts_failed: int = 0
    retry_at_ms: int | None = None
    dispatched: bool = False


class RunEngine:
    """One run's code and where it is."""

    def __init__(self, workflow: Workflow[..., Any], info: RunInfo) -> None:
        self.info = info
        self.random = random.Random(info.run_id)
        self.loop: RunLoop = RunLoop(self)  # type: ignore[abstract]
        self.signals: dict[str, deque[Payload]] = {}
        self.signal_waiters: dict[str, deque[RunFuture[Payload]]] = {}
        self._workflow = workflow
        self._recorded = Recorded()
        self._main: RunTask[Any] | None = None
        self._open: dict[str, OpenTask] = {}
        self._futures: dict[str, RunFuture[Any]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._timer_addresses: dict[asyncio.TimerHandle, str] = {}
        self._ordinals: dict[str, int] = {}
        self._keys: set[str] = set()
        self._commands: list[events.Command] = []
        self._closed = False

    @property
    def open_tasks(self) -> Mapping[str, OpenTask]:
        """Tasks that were asked for and whose outcome was not fed, by address."""
        return self._open

    @property
    def closed(self) -> bool:
        """Whether the run has ended, or was evicted."""
        return self._closed

    def replay(self, history: Sequence[events.Event]) -> list[events.Command]:
        """Feed a recorded history; returns the commands that the code issues and it does not hold.

        Raises:
            DivergedError: code and history disagree.
            WorkflowBugError: the code raised what is no declared failure.
        """
        for event in history:
            if isinstance(event, events.COMMANDS):
                self._recorded.learn(event)
        inputs_left = sum(isinstance(event, events.INPUTS) for event in history)
        commands_left = sum(isinstance(event, events.COMMANDS) for event in history)
        index = 0
        while index < len(history):
            event = history[index]
            index += 1
            if isinstance(event, events.INPUTS):
                inputs_left -= 1
                # What follows a recorded command was run, and logged, before.
                self.loop.replaying = inputs_left > 0 or commands_left > 0
                self._run_turn(event)
            # What is recorded up to the next input belongs to this turn.
            while index < len(history) and not isinstance(history[index], events.INPUTS):
                commands_left -= isinstance(history[index], events.COMMANDS)
                self._reach(history[index])
                index += 1
            self._recorded.end_turn()
        self.loop.replaying = False
        return self._take_commands()

    def feed(self, event: events.Input) -> list[events.Command]:
        """Feed one live input; returns the commands of this turn, in order.

        Raises:
            DivergedError: something recorded is still missing, and the turn did something new.
            WorkflowBugError: the code raised what is no declared failure. The turn's commands are dropped.
        """
        self._run_turn(event)
        self._recorded.end_turn()
        return self._take_commands()

    def close(self) -> None:
        """Evict the run: whatever its code does while it is torn down issues nothing."""
        self._closed = True
        main, self._main = self._main, None
        self.loop.close()
        if main is not None and not main.done():
            coroutine = main.get_coro()
            _close_quietly(coroutine)
        for future in self._futures.values():
            setattr(future, "_log_traceback", False)  # noqa: B010  nobody is to be told, and asyncio has no public way to say so
        self._futures.clear()
        self._timers.clear()

    def schedule_task(
        self, task: Task[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Awaitable[Any]:
        """Issue a call of a task; for the loop."""
        payload, digest = task.arguments.encode_call(args, kwargs)
        address = self._address_of(task, digest)
        future = self._futures[address] = TaskFuture(loop=self.loop, address=address)
        self._open[address] = OpenTask(address, task, payload)
        self._issue(events.TaskScheduled(self.loop.now_ms, address, task.name, payload))
        return future

    def cancel_task(self, address: str) -> None:
        """Issue the cancellation of a task whose outcome nobody wants any more; for its future."""
        if not self._closed and self._open.pop(address, None) is not None:
            self._futures.pop(address, None)
            self._issue(events.TaskCancelled(self.loop.now_ms, address))

    def start_timer(self, handle: asyncio.TimerHandle) -> None:
        """Issue a timer; for the loop."""
        due_ms = round(handle.when() * 1000)
        address = self._numbered(f"sleep/{due_ms - self.loop.now_ms}ms")
        self._timers[address] = handle
        self._timer_addresses[handle] = address
        self._issue(events.TimerStarted(self.loop.now_ms, address, due_ms))

    def cancel_timer(self, handle: asyncio.TimerHandle) -> None:
        """Issue the cancellation of a timer that has not fired; for the loop."""
        address = self._timer_addresses.pop(handle, None)
        if address is not None and self._timers.pop(address, None) is not None:
            self._issue(events.TimerCancelled(self.loop.now_ms, address))

    def unhandled(self, context: dict[str, Any]) -> None:
        """Report what nobody awaited; for the loop."""
        if not self._closed and not self.loop.replaying:
            report_unhandled(self.info.run_id, context)

    def _run_turn(self, event: events.Input) -> None:
        if self._closed:
            return
        self.loop.advance_to(event.at)
        self._take_input(event)
        self.loop.run_until_idle()
        if self._main is not None and self._main.done():
            self._end(self._main)

    def _take_input(self, event: events.Input) -> None:
        match event:
            case events.TaskCompleted():
                self._recorded.pass_result(event.address)
                self._resolve(event.address, lambda task: task.call.result.decode(event.output))
            case events.RunStarted():
                self._begin(event)
            case events.TaskFailed():
                self._recorded.pass_result(event.address)
                self._resolve(event.address, lambda task: _raise(event, task))
            case events.TimerFired():
                self._recorded.pass_result(event.address)
                handle = self._timers.pop(event.address, None)
                if handle is not None:
                    self._timer_addresses.pop(handle, None)
                    self.loop.make_ready(handle)
            case events.SignalReceived():
                self._receive(event)

    def _begin(self, event: events.RunStarted) -> None:
        try:
            args, kwargs = self._workflow.arguments.decode(event.input)
        except PayloadError as error:
            self._issue(events.RunFailed(self.loop.now_ms, from_exception(error)))
            self._closed = True
            return
        self._main = self.loop.create_task(self._workflow.function(*args, **kwargs), name="run")

    def _resolve(self, address: str, outcome: Callable[[OpenTask], Any]) -> None:
        """An outcome of a task that nobody awaits any more is a no-op."""
        task = self._open.pop(address, None)
        future = self._futures.pop(address, None)
        if task is None or future is None or future.done():
            return
        try:
            future.set_result(outcome(task))
        except Exception as error:  # noqa: BLE001  it belongs to whoever awaits
            future.set_exception(error)

    def _receive(self, event: events.SignalReceived) -> None:
        waiters = self.signal_waiters.get(event.name)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(event.value)
                return
        self.signals.setdefault(event.name, deque()).append(event.value)

    def _end(self, main: RunTask[Any]) -> None:
        try:
            result = main.result()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit) or not self._is_failure(error):
                raise WorkflowBugError(from_exception(error, kind="bug")) from error
            self._issue(events.RunFailed(self.loop.now_ms, from_exception(error)))
        else:
            try:
                output = self._workflow.result.encode(result)
            except PayloadError as error:
                raise WorkflowBugError(from_exception(error, kind="bug")) from error
            self._issue(events.RunCompleted(self.loop.now_ms, output))
        self._closed = True

    def _is_failure(self, error: BaseException) -> bool:
        if isinstance(error, BaseExceptionGroup):
            parts: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            return all(self._is_failure(part) for part in parts)
        return isinstance(error, (*ANY_FAILURE, *self._workflow.options.fails_on))

    def _address_of(self, task: Task[..., Any], digest: str) -> str:
        key = task.options.key
        if key is None:
            return self._numbered(f"{task.name}/{digest}")
        address = f"{task.name}/={key}"
        if address in self._keys:
            message = f"key {key!r} names two calls of task {task.name!r} in one run: give each its own"
            raise DefinitionError(message)
        self._keys.add(address)
        return address

    def _numbered(self, name: str) -> str:
        ordinal = self._ordinals[name] = self._ordinals.get(name, 0) + 1
        return f"{name}/{ordinal}"

    def _issue(self, command: events.Command) -> None:
        if self._closed:
            return
        if not self._recorded.issue(command, _caller() if self.loop.replaying else ""):
            self._commands.append(command)

    def _take_commands(self) -> list[events.Command]:
        commands, self._commands = self._commands, []
        return commands

    def _reach(self, event: events.Event) -> None:
        if isinstance(event, events.COMMANDS):
            self._recorded.reach(event)
            return
        task = self._open.get(event.address) if isinstance(event, events.NOTES) else None
        match event:
            case events.TaskAttemptFailed() if task is not None:
                task.attempts_failed = event.attempt
                task.retry_at_ms = event.retry_at_ms
            case events.TaskRetryDue() if task is not None:
                task.retry_at_ms = None
            case events.TaskDispatched() if task is not None:
                task.dispatched = True
            case _:
                pass


def _raise(event: events.TaskFailed, task: OpenTask) -> Any:
    raise to_exception(event.failure, task.call.name, task.call.options.raises)


def _close_quietly(coroutine: Any) -> None:
    try:
        coroutine.close()
    except BaseException:  # noqa: BLE001  clean-up of an evicted run may do what it likes: nobody hears it
        return


def _caller() -> str:
    """The innermost line of user code: what is neither ours nor the standard library's."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("aiki_workflow", "aiki_task", "asyncio")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
