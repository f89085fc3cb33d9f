"""Turns the replies of scripts into values. What a script returns is said in its head comment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from aiki_server.core import placement
from aiki_server.core.ids import workflow_handler
from aiki_server.core.runs import (
    Attention,
    CacheMark,
    Committed,
    Fenced,
    Gap,
    Granted,
    HeldTask,
    LeaseToken,
    NotReady,
    Released,
    RunRecord,
    RunState,
    TaskAttention,
    TaskRecord,
    TaskState,
    Terminated,
)
from aiki_server.store import keys

if TYPE_CHECKING:
    from aiki_server.store.connection import Reply

_STATES = {state.value.encode(): state for state in RunState}


_NOT_NOW = {b"stalled", b"paused", b"scheduled"}
"""States in which nothing is done until the run is woken."""


def state_of(reply: bytes) -> RunState:
    return _STATES[reply]


def attention(run_id: str, reply: list[Reply]) -> Attention:
    """From what parts/attention.lua returns."""
    state, holder, epoch, nonce, namespace, queue, workflow, version, place, fresh = reply
    return Attention(
        run_id,
        namespace.decode(),
        queue.decode(),
        workflow_handler(workflow.decode(), version.decode()),
        LeaseToken(run_id, "", int(epoch), nonce.decode()) if holder else None,
        holder.decode(),
        state in _NOT_NOW,
        fresh == 1,
        placement.decode(place.decode()) if place else placement.ANYWHERE,
    )


def task_attention(run_id: str, address: str, reply: list[Reply]) -> TaskAttention:
    """From namespace, queue, handler, placement."""
    namespace, queue, handler, place = (part.decode() for part in cast("list[bytes]", reply))
    return TaskAttention(run_id, address, namespace, queue, handler, placement.decode(place))


def fenced(run_id: str, address: str, reply: list[Reply]) -> Fenced:
    """From 'fenced', epoch, nonce, holder."""
    _, epoch, nonce, holder = reply
    if not holder:
        return Fenced(None, "")
    return Fenced(LeaseToken(run_id, address, int(epoch), nonce.decode()), holder.decode())


def mark(reply: bytes | None) -> CacheMark | None:
    if not reply:
        return None
    epoch, nonce, length = reply.decode().split(":")
    return CacheMark(int(epoch), nonce, int(length))


def record(run_id: str, reply: list[Reply]) -> RunRecord:
    """From what get.lua returns."""
    return RunRecord(
        namespace=reply[0].decode(),
        run_id=run_id,
        workflow_id=reply[1].decode(),
        workflow=reply[2].decode(),
        version=reply[3].decode(),
        queue=reply[4].decode(),
        state=_STATES[reply[5]],
        start_ms=int(reply[6]),
        close_ms=int(reply[7] or 0),
        epoch=int(reply[8]),
        nonce=reply[9].decode(),
        holder=reply[10].decode(),
        mark=mark(reply[11]),
        failure=reply[12] or b"",
        length=reply[13],
        mail=reply[14],
        closing_event=reply[15],
        parent=reply[16].decode(),
        next=reply[17].decode(),
        previous=reply[18].decode(),
        paused=reply[19].decode(),
        runtime=reply[20].decode(),
        placement=placement.decode(reply[21].decode()),
        held_ms=int(reply[22] or 0),
    )


def terminated(run_id: str, holder: str, reply: list[Reply]) -> Terminated:
    """From what terminate.lua and reset.lua return."""
    _, waiters, cancelled, moved, epoch, nonce = reply
    ended = HeldTask(LeaseToken(run_id, "", epoch, nonce.decode()), holder)
    return Terminated(
        waiters.decode().split(),
        held_tasks(run_id, cancelled),
        moved == 1,
        ended if holder else None,
    )


def task_record(address: str, text: bytes, failure: bytes | None) -> TaskRecord:
    """From a task's record, as parts/tasks.lua keeps it."""
    fields = cast("dict[str, Any]", json.loads(text))
    return TaskRecord(
        address=address,
        handler=fields["handler"],
        queue=fields["queue"],
        state=TaskState(fields["state"]),
        attempts_made=int(fields["attempts"]),
        epoch=int(fields["epoch"]),
        nonce=fields["nonce"],
        holder=fields["holder"],
        worker=fields["worker"],
        since_ms=int(fields["since"]),
        due_ms=int(fields["due"]),
        deadline_ms=int(fields["deadline"]),
        started=bool(fields["started"]),
        failure=failure or b"",
        is_alone=fields.get("alone") == 1,
        deaths=tuple(fields.get("deaths", "").split()),
        placement=placement.decode(fields.get("place", "")),
    )


def granted(run_id: str, incarnation: str, nonce: str, reply: list[Reply]) -> Granted | NotReady:
    """From what grant.lua returns."""
    if reply[0] != b"granted":
        return NotReady()
    _, epoch, length, first, left, events, *about = reply
    namespace, workflow_id, workflow, version, queue, start_ms, losses, place = about
    record_then = RunRecord(
        namespace=namespace.decode(),
        run_id=run_id,
        workflow_id=workflow_id.decode(),
        workflow=workflow.decode(),
        version=version.decode(),
        queue=queue.decode(),
        state=RunState.RUNNING,
        start_ms=int(start_ms),
        close_ms=0,
        epoch=epoch,
        nonce=nonce,
        holder=incarnation,
        length=length,
        mail=left,
        placement=placement.decode(place.decode()) if place else placement.ANYWHERE,
    )
    token = LeaseToken(run_id, "", epoch, nonce)
    return Granted(token, length, first, events, left == 1, record_then, losses)


def committed(run_id: str, reply: list[Reply]) -> Committed | Fenced | Gap:
    """From what commit.lua returns."""
    if reply[0] == b"ok":
        _, length, _, left, is_released, closed, waiters, drained, cancelled, moved = reply
        return Committed(
            length,
            drained,
            left == 1,
            is_released == 1,
            closed == 1,
            waiters.decode().split() if waiters else [],
            held_tasks(run_id, cancelled) if cancelled else [],
            moved == 1,
        )
    return fenced(run_id, "", reply) if reply[0] == b"fenced" else Gap(reply[1])


def released(run_id: str, reply: list[Reply]) -> Released | Fenced:
    """From what release.lua returns."""
    if reply[0] == b"fenced":
        return fenced(run_id, "", reply)
    return Released(attention(run_id, reply[1]))


def held_tasks(run_id: str, reply: list[Reply]) -> list[HeldTask]:
    """From address, epoch, nonce, incarnation, and so on."""
    return [
        HeldTask(
            LeaseToken(run_id, reply[at].decode(), int(reply[at + 1]), reply[at + 2].decode()),
            reply[at + 3].decode(),
        )
        for at in range(0, len(reply), 4)
    ]


def as_it_is(reply: Reply) -> Reply:
    return reply


def nothing(reply: Reply) -> None:
    """The reply says no more than that it is done."""


def member_of(about: Attention | TaskAttention) -> str:
    """Its member in `ready`."""
    match about:
        case Attention():
            return keys.ready_run(about.run_id)
        case TaskAttention():
            return keys.ready_task(about.run_id, about.address)
