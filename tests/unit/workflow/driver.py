"""Plays the coordinator and the worker to one engine: takes its commands, feeds it outcomes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiki_task.failures import FailureInfo, from_exception
from aiki_task.payloads import Payload
from aiki_workflow import Workflow, events
from aiki_workflow.engine import RunEngine, RunInfo

Answer = Callable[[events.TaskScheduled, list[Any]], Any]


def make_engine(workflow: Workflow[..., Any]) -> RunEngine:
    """A fresh engine for one run."""
    info = RunInfo(
        namespace="default",
        run_id="1-abc",
        workflow_id="w",
        workflow=workflow.name,
        version=workflow.version,
        queue="default",
    )
    return RunEngine(workflow, info)


def started(workflow: Workflow[..., Any], *args: Any, at: int = 1_000_000) -> events.RunStarted:
    """The first event of a history."""
    return events.RunStarted(
        at, workflow.name, workflow.version, workflow.arguments.encode(args, {}), "w", "default"
    )


SIGNAL, CANCEL = "a signal", "a cancellation"


@dataclass
class Driver:
    """One run from its start to its end; `history` is what would be in the store.

    Which open thing ends next is chosen by what is open and the seed, not by how far a driver has
    come, so that a driver that goes on from a prefix of the history makes the same choices.
    """

    workflow: Workflow[..., Any]
    seed: int = 0
    history: list[events.Event] = field(default_factory=list[events.Event])
    signals: int = 0
    cancels: bool = False

    def run(self, engine: RunEngine, *args: Any) -> events.Command:
        """Drive to the end; returns how it ended."""
        if self.history:
            self.history += engine.replay(self.history)
        else:
            first = started(self.workflow, *args)
            self.history += [first, *engine.feed(first)]
        while not isinstance(self.history[-1], events.ENDINGS):
            event = self.next_input(engine)
            self.history += [event, *engine.feed(event)]
        return self.history[-1]

    def next_input(self, engine: RunEngine) -> events.Input:
        """The outcome of one open task or child, the firing of one open timer, a signal, or cancellation."""
        timers = {event.address: event for event in self.history if isinstance(event, events.TimerStarted)}
        for event in self.history:
            if isinstance(event, events.TimerFired | events.TimerCancelled):
                timers.pop(event.address, None)
        children = engine.calls.children
        choices = sorted([*engine.open_tasks, *timers, *children, *self._from_outside()])
        assert choices, "the run waits for nothing"
        inputs = sum(isinstance(event, events.INPUTS) for event in self.history)
        address = random.Random(f"{self.seed}/{inputs}/{choices}").choice(choices)
        now = max(event.at for event in self.history) + 1
        if address == SIGNAL:
            return events.SignalReceived(now, "number", Payload(str(inputs).encode(), "json"))
        if address == CANCEL:
            return events.CancelRequested(now, "enough")
        if address in children:
            return child_outcome(address, now)
        if address in timers:
            return events.TimerFired(max(now, timers[address].due_ms), address)
        return outcome(engine, address, now)

    def _from_outside(self) -> list[str]:
        """What may come whether or not the run waits for it, a few times at most."""
        signals = sum(isinstance(event, events.SignalReceived) for event in self.history)
        cancelled = any(isinstance(event, events.CancelRequested) for event in self.history)
        found = [SIGNAL] if signals < self.signals else []
        return [*found, CANCEL] if self.cancels and not cancelled else found


def child_outcome(address: str, at: int) -> events.Input:
    """A child that ends well, unless its address says otherwise."""
    number = sum(address.encode())
    if number % 4 == 0:
        failure = FailureInfo(type="ValueError", message="will not do")
        return events.ChildFailed(at, address, failure)
    return events.ChildCompleted(at, address, Payload(str(number % 10).encode(), "json"))


def outcome(engine: RunEngine, address: str, at: int) -> events.Input:
    """Run a task's function in place."""
    task = engine.open_tasks[address]
    args, kwargs = task.call.arguments.decode(task.input)
    try:
        result = task.call.function(*args, **kwargs)
    except ValueError as error:
        return events.TaskFailed(at, address, from_exception(error, attempts=1), "w")
    return events.TaskCompleted(at, address, task.call.result.encode(result), 1, 0, "w")


def result_of(workflow: Workflow[..., Any], end: events.Command) -> Any:
    """What the run returned."""
    assert isinstance(end, events.RunCompleted), end
    return workflow.result.decode(end.output)


def commands_of(history: Sequence[events.Event]) -> list[events.Command]:
    """The commands of a history, in order."""
    return [event for event in history if isinstance(event, events.COMMANDS)]
