"""Call a task's function within one attempt: the same wherever it runs."""

from __future__ import annotations

import time
from typing import Any

from aiki_task.context import TaskContext, enter
from aiki_task.errors import DeferredOutcome
from aiki_task.failures import from_exception
from aiki_task.payloads import Payload
from aiki_task.task import Task
from aiki_worker.executors.outcomes import Deferred, Outcome, Raised, Returned


def call_sync(task: Task[..., Any], context: TaskContext, payload: Payload) -> Outcome:
    """Call a sync function. What is no `Exception`, such as `AttemptCancelled`, passes through."""
    begun = time.monotonic()
    enter(context)
    try:
        args, kwargs = task.arguments.decode(payload)
        value = task.function(*args, **kwargs)
        return Returned(task.result.encode(value), _ms_since(begun))
    except DeferredOutcome:
        return Deferred(_ms_since(begun))
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever user code raises is its outcome
        return _raised(error, context, begun)


async def call_async(task: Task[..., Any], context: TaskContext, payload: Payload) -> Outcome:
    """Call an async function. `CancelledError` passes through."""
    begun = time.monotonic()
    enter(context)
    try:
        args, kwargs = task.arguments.decode(payload)
        value = await task.function(*args, **kwargs)
        return Returned(task.result.encode(value), _ms_since(begun))
    except DeferredOutcome:
        return Deferred(_ms_since(begun))
    except (Exception, SystemExit) as error:  # noqa: BLE001  as above
        return _raised(error, context, begun)


def _raised(error: BaseException, context: TaskContext, begun: float) -> Raised:
    return Raised(error, from_exception(error, attempts=context.attempt), _ms_since(begun))


def _ms_since(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
