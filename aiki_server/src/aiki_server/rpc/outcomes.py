"""How attempts of remote tasks end: recorded, tried again, or left for later."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core import ids
from aiki_server.core.retry import next_delay_ms
from aiki_server.core.runs import Completed, Expired, Fenced, LeaseToken, Retrying
from aiki_server.rpc.hub import Hub
from aiki_server.telemetry.metrics import TASKS_RETRIED


class Outcomes:
    """Judges failures; the store decides whether the lease is still the one."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    def failed(
        self,
        token: LeaseToken,
        incarnation: str,
        failed: history_pb2.TaskFailed,
        *,
        spec: history_pb2.TaskSpec,
        attempt: int,
        final: bool = False,
        retry_after_ms: int | None = None,
        then: Callable[[Completed | Retrying | Fenced], None],
    ) -> None:
        """An attempt has failed: another follows, or the task has; *then* is told."""
        due_ms = None
        if not final and not spec.at_most_once:
            due_ms = self._retry_at_ms(spec, attempt, failed.failure.type, retry_after_ms)
        if due_ms is not None:
            TASKS_RETRIED.add()
            failure = failed.failure.SerializeToString()
            retry = self._stores.tasks.retry(
                token=token, incarnation=incarnation, due_ms=due_ms, failure=failure
            )
            self._hub.when_done(retry, then)
            return
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms(), task_failed=failed)
        event.task_failed.failure.attempts = attempt
        done = self._stores.tasks.complete(
            token=token, incarnation=incarnation, event=event.SerializeToString()
        )
        self._hub.when_done(done, then)

    def expired(self, expired: Expired) -> None:
        """An attempt that deferred its outcome is out of time."""
        token = expired.token
        failure = common_pb2.Failure(
            kind=common_pb2.FAILURE_KIND_TIMEOUT,
            type="TimeoutError",
            message="nobody completed the task by its token within the attempt's timeout",
        )
        failed = history_pb2.TaskFailed(address=token.address, failure=failure)
        spec = history_pb2.TaskSpec.FromString(expired.spec)
        self.failed(token, "", failed, spec=spec, attempt=expired.attempt, then=partial(self.attend, token))

    def attend(self, token: LeaseToken, answer: Completed | Retrying | Fenced) -> None:
        """Tell whom it concerns."""
        match answer:
            case Completed():
                self._hub.attend(answer.attention)
            case Retrying():
                self._hub.timers_changed(ids.partition_of_run(token.run_id))
            case Fenced():
                pass

    def _retry_at_ms(
        self, spec: history_pb2.TaskSpec, attempt: int, error_type: str, retry_after_ms: int | None
    ) -> int | None:
        delay_ms = next_delay_ms(spec.retry, attempt, error_type, random.random())
        if delay_ms is None:
            return None
        due_ms = self._stores.clock.now_ms() + (delay_ms if retry_after_ms is None else retry_after_ms)
        return None if 0 < spec.deadline_ms <= due_ms else due_ms
