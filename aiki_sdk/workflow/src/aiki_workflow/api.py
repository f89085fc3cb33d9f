"""What workflow code asks of its run."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING

from aiki_task.durations import Duration, parse
from aiki_task.errors import NotInRunError
from aiki_workflow.loop import RunLoop

if TYPE_CHECKING:
    from aiki_workflow.engine import RunEngine, RunInfo


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
    """Sleep durably; a sleeping run holds no worker. Outside a run: a plain sleep."""
    await asyncio.sleep(parse(duration).total_seconds())


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
