"""Reads what `core.explaining` decides with, in a few pipelined rounds whatever the run's size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiki.v1 import common_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.explaining import (
    REASONS_MAX,
    Facts,
    OpenChild,
    OpenTask,
    Place,
    Reason,
    explain,
)
from aiki_server.core.homes import Cause
from aiki_server.core.matching import Lane, lane_of
from aiki_server.core.runs import RunRecord, RunState, TaskRecord, TaskState
from aiki_server.rpc.lookups import STATES
from aiki_server.rpc.run_view import RunView
from aiki_server.rpc.views import read_view
from aiki_server.store import keys

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub

HEAD_MAX: Final = 1000
"""Of each lane, how far is looked for the place of something."""
LANES_MAX: Final = 20
CAUSES: Final = {cause: workflow_pb2.WaitCause.Value(f"WAIT_CAUSE_{cause.name}") for cause in Cause}


class Explanations:
    """Says why runs wait."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    async def explain(self, record: RunRecord) -> workflow_pb2.ExplainRunResponse:
        """Why this run waits.

        Raises:
            StoreError: not now.
        """
        reasons = explain(await self._facts(record))
        return workflow_pb2.ExplainRunResponse(
            run_id=record.run_id,
            state=STATES[record.state],
            reasons=map(_to_wire, reasons[:REASONS_MAX]),
            more=max(len(reasons) - REASONS_MAX, 0),
        )

    async def _facts(self, record: RunRecord) -> Facts:
        handler = ids.workflow_handler(record.workflow, record.version)
        lane = lane_of(record.namespace, record.queue, handler, record.placement)
        if record.state.is_closed:
            return Facts(record=record, lane=lane, pools=())
        pools = await self._hub.queues.pools()
        view = await read_view(self._stores, record.run_id)
        remote = [
            (task, lane_of(record.namespace, task.queue, task.handler, task.placement))
            for task in await self._stores.tasks.list(run_id=record.run_id)
        ]
        session = self._hub.sessions.get(record.holder)
        stalled_by = ""
        if record.state is RunState.STALLED:
            failure = common_pb2.Failure.FromString(record.failure)
            stalled_by = f"{failure.type}: {failure.message}"
        begins_ms = 0
        if record.state is RunState.SCHEDULED:
            begins_ms = await self._stores.timers.begins_ms(run_id=record.run_id)
        return Facts(
            record=record,
            lane=lane,
            pools=pools,
            worker="" if session is None else session.hello.identity,
            held_ms=record.held_ms,
            begins_ms=begins_ms,
            stalled_by=stalled_by,
            places=await self._places(record, lane, remote),
            remote=remote,
            local=_local(view, {task.address for task, _ in remote}),
            timers=[
                (timer.address, timer.since.ToMilliseconds(), timer.due.ToMilliseconds())
                for timer in view.timers
            ],
            children=[
                OpenChild(child.address, child.workflow_id, child.since.ToMilliseconds())
                for child in view.open_children()
            ],
        )

    async def _places(
        self, record: RunRecord, lane: Lane, remote: list[tuple[TaskRecord, Lane]]
    ) -> dict[str, Place]:
        """Where the run and its tasks stand that wait; of the first few lanes only."""
        wanted: dict[Lane, dict[str, str]] = {}
        if record.state is RunState.RUNNING and not record.holder:
            wanted[lane] = {keys.ready_run(record.run_id): ""}
        for task, its_lane in remote:
            if task.state is TaskState.READY and (its_lane in wanted or len(wanted) < LANES_MAX):
                member = keys.ready_task(record.run_id, task.address)
                wanted.setdefault(its_lane, {})[member] = task.address
        lengths = await self._stores.queues.lengths(wanted)
        heads = await self._stores.queues.heads(wanted, HEAD_MAX)
        places: dict[str, Place] = {}
        for one, members in wanted.items():
            numbers = {member: number for number, member in enumerate(heads[one], 1)}
            for member, address in members.items():
                places[address] = Place(numbers.get(member, 0), lengths[one][0])
        return places


def _local(view: RunView, remote: set[str]) -> list[OpenTask]:
    return [
        OpenTask(task.address, task.task, task.state, task.worker, task.since.ToMilliseconds())
        for task in view.open_tasks()
        if task.address not in remote
    ]


def _to_wire(reason: Reason) -> workflow_pb2.Why:
    why = workflow_pb2.Why(
        cause=CAUSES[reason.cause],
        address=reason.address,
        message=reason.message,
        advice=reason.advice,
        worker=reason.worker,
        position=reason.position,
        backlog=reason.backlog,
    )
    if reason.since_ms:
        why.since.FromMilliseconds(reason.since_ms)
    if reason.due_ms:
        why.due.FromMilliseconds(reason.due_ms)
    return why
