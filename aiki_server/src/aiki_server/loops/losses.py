"""Takes the leases of dead sessions from them, and gives up the tasks that kill their workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core.poison import is_poison
from aiki_server.core.runs import Completed, Fenced, LeaseToken, TaskRecord
from aiki_server.rpc.answers import when_done
from aiki_server.rpc.hub import Hub
from aiki_server.store.sessions import Losses
from aiki_server.telemetry.metrics import TASKS_POISONED

log = structlog.get_logger(__name__)


class Bereaved:
    """What dead sessions leave behind."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._losses = Losses()

    async def look(self) -> None:
        """Read who is dead; before any of `take_from`."""
        self._losses = await self._stores.sessions.lost()

    async def take_from(self, incarnation: str, leases: Iterable[LeaseToken]) -> None:
        """Release *leases* of an incarnation that is gone: drained, resumed as another, or dead."""
        is_dead = incarnation in self._losses.dead and incarnation not in self._losses.returned
        tasks: list[LeaseToken] = []
        for token in leases:
            if token.address and is_dead:
                tasks.append(token)
            else:
                store = self._stores.tasks if token.address else self._stores.runs
                self._hub.released(store.release(token=token, incarnation=incarnation, lost=is_dead))
        records = await asyncio.gather(
            *(self._stores.tasks.get(run_id=token.run_id, address=token.address) for token in tasks)
        )
        for token, record in zip(tasks, records, strict=True):
            self._judge(incarnation, token, record)

    def _judge(self, incarnation: str, token: LeaseToken, record: TaskRecord | None) -> None:
        deaths = (*record.deaths, incarnation) if record is not None and record.is_alone else ()
        if record is None or not is_poison(deaths, self._losses.returned):
            released = self._stores.tasks.release(token=token, incarnation=incarnation, lost=True)
            self._hub.released(released)
            return
        log.warning("a task is given up: it kills its workers", run_id=token.run_id, task=record.handler)
        TASKS_POISONED.add((record.queue,))
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        failed = event.task_failed
        failed.address, failed.worker = token.address, record.worker
        failed.failure.kind = common_pb2.FAILURE_KIND_ERROR
        failed.failure.type = "PoisonTask"
        failed.failure.message = f"{len(set(deaths))} workers died while they ran this task and nothing else, the last was {record.worker}"
        failed.failure.attempts = record.attempts_made + 1
        done = self._stores.tasks.complete(
            token=token, incarnation=incarnation, event=event.SerializeToString()
        )
        when_done(done, self._given_up)

    def _given_up(self, answer: Completed | Fenced) -> None:
        if isinstance(answer, Completed):
            self._hub.attend(answer.attention)
