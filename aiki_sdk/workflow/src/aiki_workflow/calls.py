"""What a run has asked of others and not heard of yet: tasks, children, signals to other runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiki_task.durations import to_ms
from aiki_task.failures import to_exception
from aiki_task.payloads import Payload
from aiki_task.task import Task
from aiki_workflow import events
from aiki_workflow.errors import TaskCancelledError, child_failed, signal_failed
from aiki_workflow.loop import CallFuture

if TYPE_CHECKING:
    from aiki_workflow.definition import Workflow
    from aiki_workflow.engine import RunEngine, RunInfo

WORKFLOW_ID_CHARACTERS_MAX = 200
STOPPED = frozenset({"cancelled", "terminated"})
"""Kinds of failures by which what was asked to stop has stopped."""
_Outcome = events.TaskCompleted | events.TaskFailed | events.ChildCompleted | events.ChildFailed


@dataclass(slots=True)
class OpenTask:
    """A task whose outcome was not fed yet, and what the notes of the history say of it.

    Attributes:
        retry_at_ms: while a delay after a failed attempt runs: when it is over.
        checkpoint: what an attempt told of how far it was.
    """

    address: str
    call: Task[..., Any]
    input: Payload
    attempts_failed: int = 0
    retry_at_ms: int | None = None
    dispatched: bool = False
    checkpoint: Payload | None = None


@dataclass(slots=True)
class OpenChild:
    """A child whose outcome was not fed yet. `started` is told when it is there, if that was asked for.

    Attributes:
        asked: whether it was asked to stop.
        dropped: whether that was because nobody wants its outcome, and its end is waited for.
    """

    address: str
    call: Workflow[..., Any]
    workflow_id: str
    started: CallFuture | None = None
    asked: bool = False
    dropped: bool = False


class Calls:
    """Invariant: an address has a future here until its outcome is fed or it is cancelled.

    Code that was changed may make a recorded call later than it did: the recorded outcome waits for it.
    """

    def __init__(self, engine: RunEngine) -> None:
        self._engine = engine
        self.tasks: dict[str, OpenTask] = {}
        self.children: dict[str, OpenChild] = {}
        self._futures: dict[str, CallFuture] = {}
        self._issued: set[str] = set()  # while the history is replayed
        self._early: dict[str, _Outcome] = {}

    def schedule_task(
        self, task: Task[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> CallFuture:
        """Issue a call of a task."""
        engine = self._engine
        payload, digest = task.arguments.encode_call(args, kwargs)
        key = task.options.key
        if key is None:
            address = engine.addresses.numbered(f"{task.name}/{digest}")
        else:
            address = engine.addresses.keyed(task.name, key, f"task {task.name!r}")
        future = self._futures[address] = CallFuture(loop=engine.loop, address=address)
        self.tasks[address] = OpenTask(address, task, payload)
        engine.issue(events.TaskScheduled(engine.loop.now_ms, address, task.name, payload))
        self._issue(address)
        return future

    def schedule_child(
        self, flow: Workflow[..., Any], args: Sequence[object], kwargs: Mapping[str, object], *, confirm: bool
    ) -> tuple[OpenChild, CallFuture]:
        """Issue a child; the future is its outcome."""
        engine, options = self._engine, flow.options
        payload, digest = flow.arguments.encode_call(args, kwargs)
        name = f"workflow:{flow.name}"
        if options.id is None:
            address = engine.addresses.numbered(f"{name}/{digest}")
        else:
            address = engine.addresses.keyed(name, options.id, f"child workflow {flow.name!r}")
        workflow_id = options.id or engine.recorded_child_id(address) or _child_id(engine.info, address)
        future = self._futures[address] = CallFuture(loop=engine.loop, address=address)
        child = self.children[address] = OpenChild(address, flow, workflow_id)
        if confirm:
            child.started = CallFuture(loop=engine.loop, address="")
        command = events.ChildScheduled(
            engine.loop.now_ms,
            address,
            flow.name,
            flow.version,
            workflow_id,
            options.queue or engine.info.queue,
            payload,
            options.close_policy,
            timeout_ms=0 if options.timeout is None else to_ms(options.timeout),
            confirm=confirm,
            delay_ms=0 if options.delay is None else to_ms(options.delay),
            chain_timeout_ms=0 if options.chain_timeout is None else to_ms(options.chain_timeout),
            placement=options.placement,
        )
        engine.issue(command)
        self._issue(address)
        return child, future

    def send_signal(self, workflow_id: str, name: str, value: Payload) -> CallFuture:
        """Issue a signal to another run; the future is whether it arrived."""
        engine = self._engine
        address = engine.addresses.numbered(f"signal:{name}/{workflow_id}")
        future = self._futures[address] = CallFuture(loop=engine.loop, address=address)
        engine.issue(events.SignalSent(engine.loop.now_ms, address, workflow_id, name, value))
        return future

    def cancel(self, address: str) -> None:
        """Nobody wants the outcome any more: issue that; a signal that was sent is sent."""
        engine = self._engine
        if engine.closed or self._futures.pop(address, None) is None:
            return
        if self.tasks.pop(address, None) is not None:
            engine.issue(events.TaskCancelled(engine.loop.now_ms, address))
            return
        child = self.children.pop(address, None)
        if child is not None:
            self._ask(child)

    def cancel_child(self, address: str) -> None:
        """Ask a child to stop; its outcome is still waited for."""
        child = self.children.get(address)
        if child is not None:
            self._ask(child)

    def ask_to_stop(self, address: str) -> bool:
        """Ask a child to stop whose outcome nobody wants any more; whether its end is to be waited for."""
        child = self.children.get(address)
        if (
            self._engine.closed
            or child is None
            or child.dropped
            or child.call.options.cancel_policy != "wait"
        ):
            return False
        child.dropped = True
        self._ask(child)
        return True

    def task_completed(self, event: events.TaskCompleted) -> None:
        """Feed a result; one of a task that nobody awaits any more is a no-op."""
        task = self.tasks.pop(event.address, None)
        if task is not None:
            self._resolve(event.address, lambda: task.call.result.decode(event.output))
        else:
            self._keep(event.address, event)

    def task_failed(self, event: events.TaskFailed) -> None:
        """Feed the failure of a task."""
        task = self.tasks.pop(event.address, None)
        if task is not None:
            self._fail(event.address, to_exception(event.failure, task.call.name, task.call.options.raises))
        else:
            self._keep(event.address, event)

    def task_cancelled(self, event: events.TaskCancelRequested) -> None:
        """An operator cancelled a task: whoever awaits it gets TaskCancelledError."""
        task = self.tasks.pop(event.address, None)
        if task is not None:
            engine = self._engine
            engine.issue(events.TaskCancelled(engine.loop.now_ms, event.address))
            self._fail(event.address, TaskCancelledError(task.call.name, event.reason))

    def child_started(self, event: events.ChildStarted) -> None:
        """A child is there."""
        child = self.children.get(event.address)
        if child is not None and child.started is not None and not child.started.done():
            child.started.set_result(event.run_id)

    def child_completed(self, event: events.ChildCompleted) -> None:
        """Feed a child's result."""
        child = self.children.pop(event.address, None)
        if child is None:
            self._keep(event.address, event)
        elif child.dropped:
            self._end_cancelled(event.address)
        else:
            self._resolve(event.address, lambda: child.call.result.decode(event.output))

    def child_failed(self, event: events.ChildFailed) -> None:
        """Feed a child's failure."""
        child = self.children.pop(event.address, None)
        if child is None:
            self._keep(event.address, event)
            return
        if child.dropped and event.failure.kind in STOPPED:
            self._end_cancelled(event.address)
            return
        error = child_failed(event.failure, child.call.name, child.workflow_id)
        if child.started is not None and not child.started.done():
            child.started.set_exception(error)
            # Who waits for the start is told; nobody need wait for the outcome as well.
            self._futures.pop(event.address).quiet()
            return
        self._fail(event.address, error)

    def signal_delivered(self, event: events.SignalDelivered) -> None:
        """Feed what came of a signal to another run."""
        if event.failure is None:
            self._resolve(event.address, lambda: None)
        else:
            self._fail(event.address, signal_failed(event.failure))

    def note(self, event: events.Event) -> None:
        """Remember what a note says of an open task."""
        if isinstance(event, events.RunReset):
            self._begin_anew()
            return
        task = self.tasks.get(getattr(event, "address", ""))
        if task is None:
            return
        match event:
            case events.TaskAttemptFailed():
                task.attempts_failed = event.attempt
                task.retry_at_ms = event.retry_at_ms
            case events.TaskRetryDue():
                task.retry_at_ms = None
            case events.TaskDispatched():
                task.dispatched = True
            case events.TaskProgressed():
                task.checkpoint = event.checkpoint
            case _:
                pass

    def _ask(self, child: OpenChild) -> None:
        if not child.asked:
            child.asked = True
            self._engine.issue(events.ChildCancelled(self._engine.loop.now_ms, child.address))

    def _end_cancelled(self, address: str) -> None:
        future = self._futures.pop(address, None)
        if future is not None:
            future.end_cancelled()

    def _keep(self, address: str, event: _Outcome) -> None:
        """An outcome of a call that is not open: the code may make that call yet."""
        if self._engine.loop.replaying and address not in self._issued:
            self._early[address] = event

    def _issue(self, address: str) -> None:
        """A call was made; if its recorded outcome has passed already, it has it in this turn."""
        if self._engine.loop.replaying:
            self._issued.add(address)
        event = self._early.pop(address, None)
        if event is not None:
            self._engine.loop.call_soon(self._feed, event)

    def _feed(self, event: _Outcome) -> None:
        match event:
            case events.TaskCompleted():
                self.task_completed(event)
            case events.TaskFailed():
                self.task_failed(event)
            case events.ChildCompleted():
                self.child_completed(event)
            case events.ChildFailed():
                self.child_failed(event)

    def _begin_anew(self) -> None:
        """What was under way belongs to the run that was reset; only what an attempt told stays."""
        for task in self.tasks.values():
            task.attempts_failed, task.retry_at_ms, task.dispatched = 0, None, False

    def close(self) -> None:
        """The run is evicted: nobody is told."""
        for future in self._futures.values():
            future.quiet()
        self._futures.clear()

    def _resolve(self, address: str, outcome: Callable[[], Any]) -> None:
        future = self._futures.pop(address, None)
        if future is None or future.done():
            return
        try:
            future.set_result(outcome())
        except Exception as error:  # noqa: BLE001  it belongs to whoever awaits
            future.set_exception(error)

    def _fail(self, address: str, error: BaseException) -> None:
        future = self._futures.pop(address, None)
        if future is not None and not future.done():
            future.set_exception(error)


def _child_id(parent: RunInfo, address: str) -> str:
    """After a reset the children are others: those of before may still be open."""
    again = f"~{parent.run_id[-6:]}" if parent.reset else ""
    whole = f"{parent.workflow_id}/{address.removeprefix('workflow:')}{again}"
    if len(whole) <= WORKFLOW_ID_CHARACTERS_MAX:
        return whole
    return f"{parent.workflow_id[:100]}/{hashlib.blake2b(whole.encode(), digest_size=12).hexdigest()}"
