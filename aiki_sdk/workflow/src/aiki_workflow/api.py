"""What workflow code asks of its run."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

from aiki_task.durations import Duration, parse
from aiki_task.errors import NotInRunError
from aiki_task.payloads import ValueCodec
from aiki_workflow import events
from aiki_workflow.hooks import call_hook, info_at
from aiki_workflow.loop import RunLoop

if TYPE_CHECKING:
    from aiki_workflow.engine import RunEngine, RunInfo

LONG_HISTORY_EVENTS: Final = 10_000
"""From here on `should_continue` says yes."""


def current_engine(what: str) -> RunEngine:
    """The engine of the run this code is part of.

    Raises:
        NotInRunError: it is not part of one.
    """
    loop = asyncio._get_running_loop()
    if not isinstance(loop, RunLoop):
        message = f"{what} is only there inside a run: use it in a function marked @workflow"
        raise NotInRunError(message)
    return loop.engine


async def sleep(duration: Duration) -> None:
    """Sleep durably; a sleeping run holds no worker. Outside a run: a plain sleep.

    Raises:
        DurationError: *duration* is negative, or none.
    """
    seconds = parse(duration).total_seconds()
    loop = asyncio._get_running_loop()
    if isinstance(loop, RunLoop):
        for hook in loop.engine.workflow.hooks.on_sleep:
            number = loop.engine.addresses.numbered("on sleep")
            await call_hook(hook, number, info_at(loop.engine, "sleeping", sleep_seconds=seconds))
    await asyncio.sleep(seconds)


def now() -> datetime:
    """The run's time, in UTC: that of its latest input. It is the same on replay."""
    return datetime.fromtimestamp(current_engine("now()").loop.time(), UTC)


def random() -> Random:
    """The run's random numbers: the same on replay. Not for secrets."""
    return current_engine("random()").random


def uuid4() -> uuid.UUID:
    """A random UUID that is the same on replay."""
    return uuid.UUID(int=current_engine("uuid4()").random.getrandbits(128), version=4)


def run_info() -> RunInfo:
    """Which run this code is part of."""
    return current_engine("run_info()").info


def patched(name: str) -> bool:
    """Whether to take the new branch of a change, in code that live runs have passed already.

    True in runs that come here for the first time; false in those that passed here with the old code.
    Keep the call for as long as there may be a run that recorded it.
    """
    return current_engine("patched()").patched(name)


def publish(key: str, value: object) -> None:
    """Make *value* readable under *key* without a worker; the newest one counts.

    Raises:
        PayloadError: it cannot be encoded as JSON, or is too large.
    """
    engine = current_engine("publish()")
    payload = _published.encode(value)
    address = engine.addresses.numbered(f"publish/{key}")
    engine.issue(events.StatePublished(engine.loop.now_ms, address, key, payload))


async def updates_answered() -> None:
    """Wait until every update that is under way has been answered, such as before the run ends or continues.

    What is under way when the run ends is answered by `RunClosedError`.
    """
    await current_engine("updates_answered()").requests.all_answered()


def should_continue() -> bool:
    """Whether the history is long, so that this is a good time for `continue_as_new`."""
    return current_engine("should_continue()").history_length >= LONG_HISTORY_EVENTS


_published = ValueCodec(Any, "a published value")
