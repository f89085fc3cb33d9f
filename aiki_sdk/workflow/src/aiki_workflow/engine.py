"""Drive the code of one run: feed inputs, get commands. Replay and live execution are one path.

The engine does no I/O and knows no clock: same code and same history give the same commands. It is
used from one thread, from plain code or callbacks, never inside an asyncio task.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiki_task.payloads import Payload
from aiki_workflow import events, traps
from aiki_workflow.addresses import Addresses
from aiki_workflow.calls import Calls, OpenChild, OpenTask
from aiki_workflow.definition import Workflow
from aiki_workflow.errors import DivergedError, NotDurableError, WorkflowBugError
from aiki_workflow.inbox import Inbox
from aiki_workflow.life import Life
from aiki_workflow.logs import report_unhandled
from aiki_workflow.loop import RunLoop
from aiki_workflow.recorded import Recorded
from aiki_workflow.requests import Requests
from aiki_workflow.timers import RunTimers

__all__ = ["DivergedError", "OpenChild", "OpenTask", "RunEngine", "RunInfo", "WorkflowBugError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Which run it is.

    Attributes:
        attempt: which attempt of the workflow it is, from 1.
        continued_from: the run it continues; empty when it continues none.
        parent_run_id: the run that started it; empty when none did.
        parent_workflow_id: the workflow id of that run.
        reset: whether it goes on from an event of another run.
    """

    namespace: str
    run_id: str
    workflow_id: str
    workflow: str
    version: str
    queue: str
    attempt: int = 1
    continued_from: str = ""
    parent_run_id: str = ""
    parent_workflow_id: str = ""
    reset: bool = False


class RunEngine:
    """One run's code and where it is."""

    def __init__(self, workflow: Workflow[..., Any], info: RunInfo) -> None:
        traps.guard(workflow.function.__module__)
        self.info = info
        self.workflow = workflow
        self.random = random.Random(info.run_id)
        self.loop: RunLoop = RunLoop(self)  # type: ignore[abstract]
        self.addresses = Addresses()
        self.timers = RunTimers(self)
        self.calls = Calls(self)
        self.inbox = Inbox(self.loop)
        self.life = Life(self, workflow)
        self.requests = Requests(self, workflow.queries, workflow.updates)
        self._recorded = Recorded()
        self._patches: dict[str, bool] = {}
        self._commands: list[events.Command] = []
        self._events = 0
        self._ahead: tuple[Sequence[events.Event], int] = ((), 0)
        self._in_last_turn = False
        self._closed = False
        self._read_only = False

    @property
    def open_tasks(self) -> Mapping[str, OpenTask]:
        """Tasks that were asked for and whose outcome was not fed, by address."""
        return self.calls.tasks

    @property
    def open_children(self) -> Mapping[str, OpenChild]:
        """Children that were asked for and whose outcome was not fed, by address."""
        return self.calls.children

    @property
    def closed(self) -> bool:
        """Whether the run has ended, or was evicted."""
        return self._closed

    @property
    def history_length(self) -> int:
        """Inputs fed and commands issued so far; notes are not counted."""
        return self._events

    def recorded_child_id(self, address: str) -> str:
        """The workflow id that the history has for a child; empty when it has none."""
        child = self._recorded.known(events.ChildScheduled, address)
        return child.workflow_id if isinstance(child, events.ChildScheduled) else ""

    def replay(self, history: Sequence[events.Event], *, executed: int | None = None) -> list[events.Command]:
        """Feed a recorded history; returns the commands that the code issues and it does not hold.

        Args:
            history: from its beginning.
            executed: how many events of it code has run for before, if that is known to be fewer than seems.

        Raises:
            DivergedError: code and history disagree.
            WorkflowBugError: the code raised what is no declared failure.
        """
        for event in history:
            if isinstance(event, events.COMMANDS):
                self._recorded.learn(event)
        inputs_left = sum(isinstance(event, events.INPUTS) for event in history)
        commands_left = sum(isinstance(event, events.COMMANDS) for event in history)
        run_before = len(history) if executed is None else executed
        index = 0
        while index < len(history):
            event = history[index]
            index += 1
            if isinstance(event, events.INPUTS):
                inputs_left -= 1
                # What follows a recorded command was run, and logged, before.
                self.loop.replaying = (inputs_left > 0 or commands_left > 0) and index <= run_before
                self._in_last_turn = inputs_left == 0
                self._ahead = (history, index)
                self._run_turn(event)
            # What is recorded up to the next input belongs to this turn.
            while index < len(history) and not isinstance(history[index], events.INPUTS):
                commands_left -= isinstance(history[index], events.COMMANDS)
                self._reach(history[index])
                index += 1
            self._recorded.end_turn()
        self.loop.replaying = False
        return self._take_commands()

    def unread_signals(self) -> tuple[events.SignalReceived, ...]:
        """What the next run of the chain gets: what nobody took, and what is recorded and was not fed yet."""
        recorded, first = self._ahead
        ahead = (event for event in recorded[first:] if isinstance(event, events.SignalReceived))
        return (*self.inbox.unread(), *ahead)

    def unread_updates(self) -> tuple[events.UpdateReceived, ...]:
        """Likewise, of updates: what is recorded and was not fed yet."""
        recorded, first = self._ahead
        return tuple(event for event in recorded[first:] if isinstance(event, events.UpdateReceived))

    def feed(self, event: events.Input, ahead: Sequence[events.Event] = ()) -> list[events.Command]:
        """Feed one live input; returns the commands of this turn, in order.

        *ahead* is what the history has after it, to be fed next.

        Raises:
            DivergedError: something recorded is still missing, and the turn did something new.
            WorkflowBugError: the code raised what is no declared failure. The turn's commands are dropped.
        """
        self._ahead = (ahead, 0)
        self._run_turn(event)
        self._recorded.end_turn()
        return self._take_commands()

    def close(self) -> None:
        """Evict the run: whatever its code does while it is torn down issues nothing."""
        self._closed = True
        self.loop.close()
        self.life.close()
        self.calls.close()
        self.timers.clear()

    def issue(self, command: events.Command) -> None:
        """Take a command of the code's.

        Raises:
            NotDurableError: the code is a query's or a validator's, which change nothing.
        """
        if self._read_only:
            raise NotDurableError("what is recorded")
        if self._closed:
            return
        self._events += 1
        if not self._recorded.issue(command, _caller() if self.loop.replaying else ""):
            self._commands.append(command)

    def end(self, ending: events.Ending) -> None:
        """Issue the last command, after answers to the updates that are under way."""
        self.requests.close()
        self.issue(ending)
        self._closed = True

    def patched(self, name: str) -> bool:
        """Whether the code takes the new branch of a change: not in a run that has passed it before."""
        taken = self._patches.get(name)
        if taken is None:
            address = f"patch/{name}"
            # In the last recorded turn the history may end before the mark, which code that passes here first makes.
            is_new = not self.loop.replaying or (self._in_last_turn and self._recorded.is_settled)
            taken = is_new or self._recorded.holds(events.PatchMarked, address)
            self._patches[name] = taken
            if taken:
                self.issue(events.PatchMarked(self.loop.now_ms, address))
        return taken

    def query(self, name: str, payload: Payload) -> Payload:
        """Answer a query; see `Requests.query`."""
        return self.requests.query(name, payload)

    @contextmanager
    def read_only(self) -> Generator[None]:
        """Code that runs within may look at the run and change nothing."""
        previous = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        self._read_only = True
        try:
            yield
        finally:
            self._read_only = False
            asyncio._set_running_loop(previous)

    def unhandled(self, context: dict[str, Any]) -> None:
        """Report what nobody awaited; for the loop."""
        if not self._closed and not self.loop.replaying:
            report_unhandled(self.info.run_id, context)

    def _run_turn(self, event: events.Input) -> None:
        if self._closed:
            return
        self._events += 1
        self.loop.advance_to(event.at)
        self._take_input(event)
        self.loop.run_until_idle()
        self.requests.raise_bug()
        self.life.go_on()

    def _take_input(self, event: events.Input) -> None:
        match event:
            case events.TaskCompleted():
                self._recorded.pass_result(events.TaskScheduled, event.address)
                self.calls.task_completed(event)
            case events.RunStarted():
                self._begin(event)
            case events.TaskFailed():
                self._recorded.pass_result(events.TaskScheduled, event.address)
                self.calls.task_failed(event)
            case events.TimerFired():
                self._recorded.pass_result(events.TimerStarted, event.address)
                self.timers.fire(event.address)
            case events.SignalReceived():
                self.inbox.receive(event)
            case events.ChildCompleted():
                self._recorded.pass_result(events.ChildScheduled, event.address)
                self.calls.child_completed(event)
            case events.ChildFailed():
                self._recorded.pass_result(events.ChildScheduled, event.address)
                self.calls.child_failed(event)
            case _:
                self._take_rarer(event)

    def _take_rarer(self, event: events.Input) -> None:
        match event:
            case events.ChildStarted():
                self.calls.child_started(event)
            case events.SignalDelivered():
                self._recorded.pass_result(events.SignalSent, event.address)
                self.calls.signal_delivered(event)
            case events.CancelRequested():
                self.life.cancel(event.reason)
            case events.UpdateReceived():
                self.requests.receive(event)
            case events.TaskCancelRequested():
                self.calls.task_cancelled(event)
            case events.TimerRescheduled():
                self.timers.rescheduled(event.address, event.due_ms)
            case events.RunResumed() if event.frozen_ms:
                self.timers.move_all(event.frozen_ms)
            case _:
                pass

    def _begin(self, event: events.RunStarted) -> None:
        if event.seed:
            self.random.seed(event.seed)
        self.addresses.begin(event.chain_index)
        self.info = replace(
            self.info,
            attempt=event.attempt,
            continued_from=event.continued_from,
            parent_run_id=event.parent_run_id,
            parent_workflow_id=event.parent_workflow_id,
            reset=bool(event.seed),
        )
        self.life.begin(event)

    def _take_commands(self) -> list[events.Command]:
        commands, self._commands = self._commands, []
        return commands

    def _reach(self, event: events.Event) -> None:
        if isinstance(event, events.COMMANDS):
            self._recorded.reach(event)
        elif not isinstance(event, events.INPUTS):
            self.calls.note(event)


def _caller() -> str:
    """The innermost line of user code: what is neither ours nor the standard library's."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("aiki_workflow", "aiki_task", "asyncio")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
