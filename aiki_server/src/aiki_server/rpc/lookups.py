"""What the rpcs of clients have in common: limits, finding the run, and saying what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, NoReturn

import grpc

from aiki.v1 import common_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.runs import RunRecord, RunState
from aiki_server.rpc.status import refuse
from aiki_server.store import Stores

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
NAME_CHARACTERS_MAX: Final = 200
STATES: Final = {
    RunState.RUNNING: common_pb2.RUN_STATE_RUNNING,
    RunState.WAITING: common_pb2.RUN_STATE_WAITING,
    RunState.STALLED: common_pb2.RUN_STATE_STALLED,
    RunState.PAUSED: common_pb2.RUN_STATE_PAUSED,
    RunState.SCHEDULED: common_pb2.RUN_STATE_SCHEDULED,
    RunState.COMPLETED: common_pb2.RUN_STATE_COMPLETED,
    RunState.FAILED: common_pb2.RUN_STATE_FAILED,
    RunState.CANCELLED: common_pb2.RUN_STATE_CANCELLED,
    RunState.TERMINATED: common_pb2.RUN_STATE_TERMINATED,
    RunState.TIMED_OUT: common_pb2.RUN_STATE_TIMED_OUT,
    RunState.CONTINUED: common_pb2.RUN_STATE_CONTINUED,
}
Context = grpc.aio.ServicerContext[Any, Any]


async def invalid(context: Context, message: str, reason: str = "INVALID_ARGUMENT") -> NoReturn:
    """The request makes no sense, whatever the state of things."""
    await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason, message)


async def closed(context: Context, run_id: str, state: RunState, what: str) -> NoReturn:
    """The run takes nothing more."""
    message = f"run {run_id} is {state}: it takes no {what} any more"
    await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "RUN_CLOSED", message)


async def not_found(namespace: str, run: workflow_pb2.RunReference, context: Context) -> NoReturn:
    """There is no such run."""
    message = (
        f"run {run.run_id or run.workflow_id!r} not found in namespace {namespace or ids.DEFAULT_NAMESPACE!r}"
    )
    await refuse(context, grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", message)


async def find(stores: Stores, namespace: str, run: workflow_pb2.RunReference, context: Context) -> RunRecord:
    """The run that is named, or RUN_NOT_FOUND."""
    record = await stores.runs.get(
        namespace=namespace or ids.DEFAULT_NAMESPACE, run_id=run.run_id, workflow_id=run.workflow_id
    )
    if record is None or record.state is RunState.REFUSED:
        await not_found(namespace, run, context)
    return record


async def newest(stores: Stores, record: RunRecord) -> RunRecord:
    """The run that the chain of *record* has come to."""
    while record.next:
        following = await stores.runs.get(namespace=record.namespace, run_id=record.next)
        if following is None:
            return record
        record = following
    return record


async def limit(context: Context, name: str, payload: common_pb2.Payload) -> None:
    """Refuse a value that is too large."""
    if len(payload.data) > PAYLOAD_BYTES_MAX:
        message = f"{name} takes {len(payload.data):,} bytes, over the limit of {PAYLOAD_BYTES_MAX:,}"
        await invalid(context, message, "PAYLOAD_TOO_LARGE")


async def limit_name(context: Context, name: str, value: str) -> None:
    """Refuse a name that is empty or too long."""
    if not value:
        await invalid(context, f"{name} must not be empty")
    if len(value) > NAME_CHARACTERS_MAX:
        await invalid(context, f"{name} has more than {NAME_CHARACTERS_MAX} characters")


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait for *event*, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
