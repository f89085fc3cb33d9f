"""Everything that happens on the main loop, a batch at a time.

What arrives from the session and what ended here is gathered; one callback handles all of it, lets every
run that was touched settle, and sends what came of it as one batch. Invariant: engines run in that
callback and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from aiki.v1 import worker_pb2
from aiki_task.lifespan import NOTHING, Resources
from aiki_task.task import Task
from aiki_worker import messages, metrics
from aiki_worker.attempt_spans import AttemptSpans
from aiki_worker.clock import StoreClock
from aiki_worker.credits import Credits, Room, window
from aiki_worker.executors import Attempt, Executors, Outcome
from aiki_worker.handlers import Handlers
from aiki_worker.held_run import HeldRun
from aiki_worker.placement import Served
from aiki_worker.queries import Queries
from aiki_worker.remote_tasks import RemoteTasks
from aiki_worker.run_logs import SEND_SECONDS, RunLogs
from aiki_worker.runs import Runs
from aiki_worker.settings import WorkerSettings
from aiki_worker.slots import Slots
from aiki_worker.tracing import Tracing

START_NOTE_SECONDS: Final = 0.1
"""A local attempt that takes longer has its start recorded."""

log = logging.getLogger(__name__)


class Line(Protocol):
    """The way to the coordinator."""

    def submit(self, stream: int, batch: list[worker_pb2.WorkerMessage]) -> None: ...
    def take(self) -> list[messages.Inbound]: ...


class Dispatcher:
    """Made and used on the main loop; `over` is told once, when it is drained or cannot go on."""

    def __init__(
        self,
        handlers: Handlers,
        settings: WorkerSettings,
        clock: StoreClock,
        over: Callable[[Exception | None], None],
        resources: Resources = NOTHING,
    ) -> None:
        self.clock = clock
        self.identity = settings.identity
        self.tracing = Tracing.of_process(settings.identity)
        self.served = Served(
            frozenset(handlers.tasks),
            frozenset(settings.queues),
            frozenset(settings.label_texts),
            settings.slots,
            settings.queue_slots,
        )
        self.executors = Executors(
            Slots(settings.slots, settings.queue_slots),
            settings.thread_count,
            self._soon,
            children=settings.children_of(handlers.modules),
            resources=resources,
        )
        self._handlers = handlers
        self._settings = settings
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._out: list[worker_pb2.WorkerMessage] = []
        self._ended: deque[tuple[HeldRun, Attempt, Outcome]] = deque()
        self._starts: deque[tuple[HeldRun, str, Attempt]] = deque()
        self._scheduled = False
        self._draining = False
        self._credits = Credits()
        self._logs = RunLogs(settings.run_log_level, self.identity, self._soon)
        self._speaks_soon = False
        spans = AttemptSpans(self.tracing, self.identity)
        self._remote = RemoteTasks(handlers.tasks, self.executors, clock, self._say, spans, self._hear_logs)
        self._runs = Runs(settings.namespace, handlers.workflows, self, settings.cache_size, self._say)
        self._queries = Queries(settings.namespace, handlers.workflows, self._runs, self._say)

    def show(self) -> None:
        """Let the gauges show this worker."""
        metrics.SLOTS.observe = lambda: self.executors.slots.total
        metrics.SLOTS_BUSY.observe = lambda: self.executors.slots.total - self.executors.free
        metrics.SLOTS_LEAKED.observe = lambda: self.executors.leaked
        metrics.RUNS_HELD.observe = lambda: self._runs.count
        metrics.RUNS_CACHED.observe = lambda: self._runs.cached
        metrics.TASKS_WAITING.observe = lambda: self._remote.waiting

    def connect(self, line: Line) -> None:
        """Know the way to the coordinator."""
        self._line = line
        self._logs.open()

    def handler(self, task: str) -> Task[..., Any]:
        return self._handlers.tasks[task]

    def doing(self) -> str:
        """What runs on the main loop right now, for people. Any thread may ask."""
        current = asyncio.current_task(self._loop)
        return self._runs.doing or ("no task" if current is None else f"task {current.get_name()!r}")

    def attempt_started(self, run: HeldRun, address: str, attempt: Attempt) -> None:
        if not self._starts:
            self._loop.call_later(START_NOTE_SECONDS, self._tell_starts)
        self._starts.append((run, address, attempt))

    def attempt_over(self, run: HeldRun, attempt: Attempt, outcome: Outcome) -> None:
        self._ended.append((run, attempt, outcome))
        self._soon()

    def pump(self) -> None:
        """Handle all that has gathered."""
        self._scheduled = False
        if self._line is None:
            return
        for message in self._line.take():
            self._handle(message)
        while self._ended:
            run, attempt, outcome = self._ended.popleft()
            self._runs.attempt_ended(run, attempt, outcome)
        self._remote.start_waiting()
        self._hear_logs()
        self._runs.settle()
        self._queries.answer_waiting()
        self._give_credit()
        if self._out:
            batch, self._out = self._out, []
            self._line.submit(self._credits.stream, batch)
        if self._draining and not self._runs.count and self._remote.is_empty:
            self._over(None)

    def drain(self) -> None:
        """Take no more work, hand back what has not started, finish what runs."""
        if self._draining:
            return
        self._take_no_more()
        self._remote.hand_back_waiting()
        self._runs.leave()
        self._soon()

    def hand_back_all(self) -> None:
        """Stop what runs, and give everything back."""
        self._take_no_more()
        self._remote.hand_back_all()
        self._runs.hand_back_all()
        self._soon()

    def _take_no_more(self) -> None:
        if not self._draining:
            self._draining = True
            self._say(worker_pb2.WorkerMessage(drain=worker_pb2.Drain()))

    async def close(self) -> None:
        """Give up whatever is left."""
        self._logs.close()
        self._runs.drop_all()
        self._remote.drop_all()
        await self.executors.close()

    def _handle(self, message: messages.Inbound) -> None:
        match message:
            case messages.CommitResult():
                self._runs.committed(message)
            case messages.RunGrant():
                self._credits.count(message)
                self._runs.grant(message)
            case messages.TaskAssignment():
                self._credits.count(message)
                self._remote.assign(message)
            case messages.TaskReportResult():
                self._remote.reported(message)
            case messages.HistoryPage():
                if not self._queries.page(message):
                    self._runs.page(message)
            case messages.Poke():
                self._runs.poke(message)
            case messages.Cancel():
                self._remote.cancel(message.lease)
            case messages.Recall():
                self._recall(message)
            case messages.TaskStartResult():
                self._remote.may_begin(message)
            case messages.Withdrawn():
                self._credits.count(message.given)
            case messages.Query():
                self._queries.ask(message)
            case messages.Connected():
                self._credits = Credits(message.stream, counts_slots=message.counts_slots)
                self._runs.lost(message.lost)
                self._remote.drop_all(message.lost)
            case messages.SessionLost():
                self._runs.drop_all()
                self._remote.drop_all()
            case messages.Fatal():
                self._over(message.error)

    def _hear_logs(self) -> None:
        """Give each line to its run; what does not go with something else soon goes by itself."""
        heard = self._logs.take()
        for said in heard:
            if not self._remote.said(said):
                self._runs.said(said)
        if heard and not self._speaks_soon:
            self._speaks_soon = True
            self._loop.call_later(SEND_SECONDS, self._speak)

    def _speak(self) -> None:
        self._speaks_soon = False
        self._runs.speak()
        self._remote.speak()
        self._soon()

    def _give_credit(self) -> None:
        """Say what is free."""
        if not self._credits.stream:
            return
        told = self._credits.due(self._room(), saying_more=bool(self._out))
        if told is not None:
            said = worker_pb2.Credit(
                runs_total=told.runs, tasks_total=told.tasks, queue_tasks_total=told.queues
            )
            self._say(worker_pb2.WorkerMessage(credit=said))

    def _room(self) -> Room:
        limits = self.executors.slots.limits
        if self._draining:
            return Room(runs=0, tasks=0, queues=dict.fromkeys(limits, 0))
        waiting, prefetch = self._remote.waiting_slots, self._settings.prefetch
        return Room(
            runs=max(0, self._settings.run_count - self._runs.count),
            tasks=window(self.executors.free - waiting.total(), self._settings.task_window, prefetch),
            queues={
                queue: window(self.executors.slots.free_of(queue) - waiting[queue], limit, prefetch)
                for queue, limit in limits.items()
            },
        )

    def _recall(self, recall: messages.Recall) -> None:
        if not recall.unstarted_only:
            self._runs.recall(recall.lease)
        elif recall.lease.address:
            self._remote.recall(recall.lease)
        else:
            self._runs.give_back(recall.lease)

    def _say(self, message: worker_pb2.WorkerMessage) -> None:
        self._out.append(message)

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.pump)

    def _tell_starts(self) -> None:
        old = time.monotonic() - START_NOTE_SECONDS
        starts = self._starts
        while starts and (starts[0][2].is_over or starts[0][2].begun <= old):
            run, address, attempt = starts.popleft()
            if not attempt.is_over:
                self._runs.tell_start(run, address, attempt)
        if starts:
            self._loop.call_at(self._loop.time() + starts[0][2].begun - old, self._tell_starts)
        self._soon()
