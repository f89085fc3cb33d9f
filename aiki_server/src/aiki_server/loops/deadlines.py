"""Closes runs whose time is up and that no worker takes; `core.deadlines` says which."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core import ids
from aiki_server.core.deadlines import Late, LeaveIt, LookAgain, TimeOut, deadline_ms, judge
from aiki_server.core.runs import RunRecord, RunState, Terminated
from aiki_server.loops.survey import Survey
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.run_view import RUN_TIMER
from aiki_server.rpc.views import read_view
from aiki_server.store.errors import StoreError

LOOK_SECONDS: Final = 2.0
log = structlog.get_logger(__name__)


class Deadlines:
    """Looks at this coordinator's share of the partitions; looking twice does no harm."""

    def __init__(self, hub: Hub, survey: Survey, grace: timedelta) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._survey = survey
        self._grace_ms = round(grace / timedelta(milliseconds=1))
        self._interval = min(LOOK_SECONDS, max(grace.total_seconds() / 2, 0.1))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
            except StoreError as error:
                log.warning("deadlines cannot be read", reason=str(error))
            await asyncio.sleep(self._interval)

    async def _look(self) -> None:
        until_ms = self._stores.clock.now_ms() - self._grace_ms
        reads = [
            self._stores.deadlines.due(partition=partition, until_ms=until_ms)
            for partition, look in self._survey.looks.items()
            if look.deadline_ms is not None and look.deadline_ms <= until_ms
        ]
        for page in await asyncio.gather(*reads):
            for run_id, namespace in page:
                await self._decide(run_id, namespace)

    async def _decide(self, run_id: str, namespace: str) -> None:
        store = self._stores.deadlines
        record = await self._stores.runs.get(namespace=namespace, run_id=run_id)
        if record is None:
            await store.drop(run_id=run_id, namespace=namespace)
            return
        match judge(await self._late(record), self._stores.clock.now_ms(), self._grace_ms):
            case LeaveIt():
                await store.drop(run_id=run_id, namespace=namespace)
            case LookAgain(due_ms):
                await store.move(run_id=run_id, namespace=namespace, due_ms=due_ms)
            case TimeOut():
                await self._time_out(record)

    async def _late(self, record: RunRecord) -> Late:
        handler = ids.workflow_handler(record.workflow, record.version)
        is_open = not record.state.is_closed
        return Late(
            state=record.state,
            held=bool(record.holder),
            due_ms=await self._due_ms(record) if is_open else 0,
            served=is_open
            and await self._stores.sessions.serves(
                namespace=record.namespace, queue=record.queue, handler=handler
            ),
        )

    async def _due_ms(self, record: RunRecord) -> int:
        """When its time is up, by the timer its code has started, or as it was started; 0: its code was told."""
        view = await read_view(self._stores, record.run_id)
        timers = [timer for timer in view.timers if timer.address.startswith(RUN_TIMER)]
        if timers:
            return timers[0].due.ToMilliseconds()
        if view.was_told_of_its_time:
            return 0
        first = await self._stores.runs.history(run_id=record.run_id, first=0, count=1)
        mail = first or await self._stores.branching.mail(run_id=record.run_id)
        event = history_pb2.Event.FromString(mail[0])
        started = event.run_started
        return deadline_ms(event.time_ms, started.timeout_ms, started.deadline_ms)

    async def _time_out(self, record: RunRecord) -> None:
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.run_timed_out.failure.CopyFrom(_failure_of(record))
        outcome = await self._stores.deadlines.time_out(record, event.SerializeToString())
        if isinstance(outcome, Terminated):
            log.warning("a run is closed since its time is up", run_id=record.run_id, state=record.state)
            self._hub.terminated(record.run_id, outcome)


def _failure_of(record: RunRecord) -> common_pb2.Failure:
    why = f"no worker serves {record.workflow} v{record.version} in queue {record.queue!r}"
    if record.state is RunState.STALLED:
        why = "it was stalled"
    return common_pb2.Failure(
        kind=common_pb2.FAILURE_KIND_TIMEOUT,
        type="NoWorker",
        message=f"the run was not over within its time, and its code was not told: {why}",
    )
