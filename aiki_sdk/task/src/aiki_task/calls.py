"""The seam between a task's call and the run it is made in.

A run has an event loop of its own. A loop that can make a call durable says so by having the method
of `DurableLoop`; nothing else about it is known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from aiki_task.task import Task


class DurableLoop(Protocol):
    """The loop of a run."""

    def schedule_task(
        self, task: Task[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Awaitable[Any]:
        """Issue the call now; the awaitable gives its decoded outcome."""
        ...


def durable_loop() -> DurableLoop | None:
    """The loop of the run this code is part of, if it is part of one."""
    import asyncio

    loop: object = asyncio.get_running_loop()
    return cast("DurableLoop", loop) if hasattr(loop, "schedule_task") else None
