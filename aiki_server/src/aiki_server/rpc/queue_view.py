"""Queues as operators see them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiki.v1 import admin_pb2
from aiki_server.core.homes import home_of
from aiki_server.core.matching import Lane
from aiki_server.core.queues import PoolReport, QueueState
from aiki_server.rpc.explanations import CAUSES

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub


async def list_queues(hub: Hub, namespace: str) -> admin_pb2.ListQueuesResponse:
    """Every queue, and why what waits does; of one namespace, or of all.

    Raises:
        StoreError: not now.
    """
    states, waiting, pools = await asyncio.gather(
        hub.queues.states(namespace), hub.queues.waiting(), hub.queues.pools()
    )
    now_ms = hub.stores.clock.now_ms()
    lanes = [
        (since_ms, length, lane)
        for lane, (length, since_ms) in waiting.items()
        if length and namespace in {"", lane.namespace}
    ]
    return admin_pb2.ListQueuesResponse(
        queues=[_queue(state, now_ms) for state in states],
        waiting=[
            _waiting(lane, length, since_ms, pools, now_ms)
            for since_ms, length, lane in sorted(lanes, key=lambda item: item[0])
        ],
        store_time_ms=now_ms,
    )


def _queue(state: QueueState, now_ms: int) -> admin_pb2.QueueLoad:
    return admin_pb2.QueueLoad(
        namespace=state.namespace,
        queue=state.queue,
        backlog=state.backlog,
        oldest_ms=max(now_ms - state.oldest_ms, 0) if state.oldest_ms else 0,
        runs=state.runs,
        tasks=state.tasks,
        slots=state.slots,
        sessions=state.sessions,
        free_slots=state.free_slots,
    )


def _waiting(
    lane: Lane, length: int, since_ms: int, pools: list[PoolReport], now_ms: int
) -> admin_pb2.WaitingWork:
    home = home_of(lane, pools)
    return admin_pb2.WaitingWork(
        namespace=lane.namespace,
        queue=lane.queue,
        handler=lane.handler,
        priority=lane.priority,
        labels=lane.labels,
        slots=lane.slots,
        backlog=length,
        oldest_ms=max(now_ms - since_ms, 0),
        cause=CAUSES[home.cause],
        message=home.message,
        advice=home.advice,
    )
