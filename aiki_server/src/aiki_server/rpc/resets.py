"""Going back to an event of a run: in its place, or under another workflow id."""

from __future__ import annotations

from itertools import islice
from typing import Final, NoReturn

import grpc

from aiki.v1 import history_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.runs import (
    Attention,
    Changed,
    IdTaken,
    NotFound,
    RunRecord,
    Started,
    Terminated,
)
from aiki_server.rpc.branches import Past
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import Context, find, limit_name, not_found
from aiki_server.rpc.status import refuse
from aiki_server.rpc.views import read_events

TRIES: Final = 10
"""How often a run that moves on meanwhile is read again."""


class Resets:
    """Each returns the id of the new run."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    async def reset(self, request: workflow_pb2.ResetRunRequest, context: Context) -> str:
        """Reset, or fork."""
        await limit_name(context, "request_id", request.request_id)
        record = await find(self._stores, request.namespace, request.run, context)
        workflow_id = request.fork_workflow_id or record.workflow_id
        new_id = ids.run_id_for(
            record.namespace, workflow_id, f"reset {request.request_id}", self._stores.partitions
        )
        if request.fork_workflow_id:
            await limit_name(context, "fork_workflow_id", workflow_id)
            await self._fork(request, record, new_id, context)
        else:
            await self._reset(request, record, new_id, context)
        handler = ids.workflow_handler(record.workflow, record.version)
        self._hub.timers_changed(ids.partition_of_run(new_id))
        self._hub.attend(
            Attention(
                *(new_id, record.namespace, record.queue, handler, None, ""),
                stalled=False,
                fresh=True,
                placement=record.placement,
            )
        )
        return new_id

    async def _reset(
        self, request: workflow_pb2.ResetRunRequest, record: RunRecord, new_id: str, context: Context
    ) -> None:
        end = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        reason = f": {request.reason}" if request.reason else ""
        end.run_terminated.reason = f"it was reset to event {request.length}{reason}"
        for _ in range(TRIES):
            history = await read_events(self._stores, record.run_id)
            mail = await self._stores.branching.mail(run_id=record.run_id)
            past = await self._past(request, history, context)
            later = [*history[request.length :], *map(history_pb2.Event.FromString, mail)]
            children = {child.address: await self._run_of(record, child) for child in past.open_children}
            outcome = await self._stores.branching.reset(
                record,
                event=end.SerializeToString(),
                new_id=new_id,
                length=len(history),
                mail=len(mail),
                branch=past.branch(record.run_id, self._note(request, record), later, children),
            )
            match outcome:
                case Terminated():
                    self._hub.terminated(record.run_id, outcome)
                    return
                case Started():
                    return
                case IdTaken():
                    await _went_on(record, outcome.run_id, context)
                case NotFound():
                    await not_found(request.namespace, request.run, context)
                case Changed():
                    pass
        message = f"run {record.run_id} moved on {TRIES} times while it was read: pause it, then reset it"
        await refuse(context, grpc.StatusCode.ABORTED, "RUN_MOVED_ON", message)

    async def _fork(
        self, request: workflow_pb2.ResetRunRequest, record: RunRecord, new_id: str, context: Context
    ) -> None:
        past = await self._past(request, await read_events(self._stores, record.run_id), context)
        if past.open_children:
            message = (
                f"child {past.open_children[0].workflow_id!r} is open at event {request.length}, and its result "
                "goes to the run that started it: fork at an event without open children"
            )
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "EVENT_NOT_FOUND", message)
        started = past.first.run_started
        started.workflow_id = request.fork_workflow_id
        started.parent_run_id = started.parent_workflow_id = ""
        outcome = await self._stores.branching.fork(
            record,
            new_id=new_id,
            workflow_id=request.fork_workflow_id,
            branch=past.branch(record.run_id, self._note(request, record)),
        )
        match outcome:
            case IdTaken():
                message = f"workflow id {request.fork_workflow_id!r} is taken by run {outcome.run_id}"
                await refuse(context, grpc.StatusCode.ALREADY_EXISTS, "WORKFLOW_ID_TAKEN", message)
            case NotFound():
                await not_found(request.namespace, request.run, context)
            case Started():
                pass

    async def _past(
        self,
        request: workflow_pb2.ResetRunRequest,
        history: list[history_pb2.Event],
        context: Context,
    ) -> Past:
        past = Past()
        for event in islice(history, request.length):
            past.take(event)
        if past.length and past.length == request.length and not past.is_closed:
            return past
        last = len(history)
        if past.is_closed:
            last = past.length - 1
        message = f"keep 1 to {last} events: not {request.length}"
        if past.is_closed:
            message += f", since event {past.length} is the end of the run"
        return await refuse(context, grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND", message)

    async def _run_of(self, record: RunRecord, child: history_pb2.ChildScheduled) -> str:
        known = await self._stores.control.child(run_id=record.run_id, address=child.address)
        if known is not None:
            return known.run_id
        return ids.child_run_id(
            record.namespace, child.workflow_id, record.run_id, child.address, self._stores.partitions
        )

    def _note(self, request: workflow_pb2.ResetRunRequest, record: RunRecord) -> history_pb2.Event:
        note = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        note.run_reset.from_run_id, note.run_reset.length = record.run_id, request.length
        note.run_reset.reason = request.reason
        return note


async def _went_on(record: RunRecord, run_id: str, context: Context) -> NoReturn:
    message = (
        f"workflow id {record.workflow_id!r} has come to run {run_id or 'none'}: reset that one, or fork this"
    )
    await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "NOT_RUNNING", message)
