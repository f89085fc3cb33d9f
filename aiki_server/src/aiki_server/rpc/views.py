"""Runs as clients see them."""

from __future__ import annotations

from typing import Final

from aiki.v1 import common_pb2, history_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.homes import HOMELESS, home_of
from aiki_server.core.matching import lane_of
from aiki_server.core.placement import ANYWHERE, Placement
from aiki_server.core.runs import RunRecord, RunState, TaskState
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import STATES
from aiki_server.rpc.placements import placement_to_wire
from aiki_server.rpc.run_view import RunView
from aiki_server.store import Stores

PAGE: Final = 1000
REMOTE_STATES: Final = {
    TaskState.READY: "queued",
    TaskState.LEASED: "running",
    TaskState.DEFERRED: "deferred",
    TaskState.BACKOFF: "backoff",
}
FAILED: Final = frozenset({"run_failed", "run_cancelled", "run_timed_out"})


class Views:
    """Reads what a view needs."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    async def whole(self, record: RunRecord) -> workflow_pb2.Run:
        """Everything about a run."""
        run = await self.outcome(record)
        run.runtime = record.runtime
        view = await read_view(self._stores, record.run_id)
        await self._add_remote(record, view)
        view.fill(run)
        for key, value in (await self._stores.control.published(run_id=record.run_id)).items():
            run.published[key].CopyFrom(common_pb2.Payload.FromString(value))
        if record.state is RunState.WAITING:
            run.waiting_for = view.waiting_for()
        return run

    async def outcome(self, record: RunRecord) -> workflow_pb2.Run:
        """How a run ended, or why nothing happens, without what its history says."""
        run = brief(record)
        if record.closing_event:
            _end(run, history_pb2.Event.FromString(record.closing_event))
            return run
        if record.state is RunState.STALLED:
            run.failure.CopyFrom(common_pb2.Failure.FromString(record.failure))
        elif record.state is RunState.PAUSED:
            run.waiting_for = "an operator: it is paused"
        elif record.state is RunState.RUNNING and not record.holder:
            run.waiting_for = await self.waiting_for(
                record.namespace, record.queue, record.workflow, record.version, record.placement
            )
        run.worker = self._worker_name(record.holder)
        return run

    async def waiting_for(
        self, namespace: str, queue: str, workflow: str, version: str, placement: Placement
    ) -> str:
        """Why a run is not begun, if nobody serves it, or nobody who has its labels."""
        handler = ids.workflow_handler(workflow, version)
        if await self._stores.sessions.serves(namespace=namespace, queue=queue, handler=handler):
            if not placement.labels:
                return ""
            lane = lane_of(namespace, queue, handler, placement)
            home = home_of(lane, await self._hub.queues.pools())
            return home.message if home.cause in HOMELESS else ""
        return f"no worker serves {workflow} v{version} in queue {queue!r}"

    async def _add_remote(self, record: RunRecord, view: RunView) -> None:
        """What the store knows better than the history: tasks in queues and at other workers."""
        for task in await self._stores.tasks.list(run_id=record.run_id):
            shown = view.tasks.get(task.address)
            if shown is None or task.state not in REMOTE_STATES:
                continue
            shown.state = REMOTE_STATES[task.state]
            shown.attempt = task.attempts_made + 1
            shown.worker = task.worker if task.state is TaskState.LEASED else ""
            shown.since.FromMilliseconds(task.since_ms)
            if task.failure:
                shown.last_failure.CopyFrom(common_pb2.Failure.FromString(task.failure))

    def _worker_name(self, incarnation: str) -> str:
        session = self._hub.sessions.get(incarnation)
        return incarnation if session is None else session.hello.identity


async def read_events(stores: Stores, run_id: str) -> list[history_pb2.Event]:
    """The whole history of a run."""
    events: list[history_pb2.Event] = []
    while page := await stores.runs.history(run_id=run_id, first=len(events), count=PAGE):
        events.extend(map(history_pb2.Event.FromString, page))
    return events


async def read_view(stores: Stores, run_id: str) -> RunView:
    """What the whole history of a run says."""
    view = RunView()
    for event in await read_events(stores, run_id):
        view.take(event)
    return view


def _end(run: workflow_pb2.Run, event: history_pb2.Event) -> None:
    kind = event.WhichOneof("kind") or ""
    if kind == "run_completed":
        run.output.CopyFrom(event.run_completed.output)
    elif kind in FAILED:
        run.failure.CopyFrom(getattr(event, kind).failure)
    elif kind == "run_terminated":
        run.failure.kind = common_pb2.FAILURE_KIND_TERMINATED
        run.failure.type = "RunTerminated"
        run.failure.message = event.run_terminated.reason or "it was terminated"
    elif event.run_continued.HasField("failure"):
        run.failure.CopyFrom(event.run_continued.failure)


def brief(record: RunRecord) -> workflow_pb2.Run:
    """A run as a listing shows it."""
    run = workflow_pb2.Run(
        namespace=record.namespace,
        run_id=record.run_id,
        workflow_id=record.workflow_id,
        workflow=record.workflow,
        version=record.version,
        queue=record.queue,
        state=STATES[record.state],
        history_length=record.length,
        continued_from=record.previous,
        continued_as=record.next,
        parent_run_id=record.parent,
        mail=record.mail,
    )
    if record.placement != ANYWHERE:
        run.placement.CopyFrom(placement_to_wire(record.placement))
    run.start_time.FromMilliseconds(record.start_ms)
    if record.close_ms:
        run.close_time.FromMilliseconds(record.close_ms)
    return run
