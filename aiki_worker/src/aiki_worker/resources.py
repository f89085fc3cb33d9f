"""Opens the lifespans of a worker, or of one of its children, and closes them at the end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aiki_task.lifespan import NOTHING, Lifespan, Resources, supplying
from aiki_worker.errors import LifespanError

T = TypeVar("T")

CLOSE_SECONDS_MAX: Final = 10.0
"""How long one resource may take to close."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def opening(lifespans: Sequence[Lifespan[Any]]) -> AsyncGenerator[Resources]:
    """Open *lifespans* in their order, each of which finds those before it; close them in the other.

    Raises:
        LifespanError: one could not be opened; those before it are closed.
    """
    values: Resources = NOTHING
    async with AsyncExitStack() as stack:
        for lifespan in lifespans:
            values = {**values, lifespan: await stack.enter_async_context(_opened(lifespan, values))}
        yield values


@asynccontextmanager
async def _opened(lifespan: Lifespan[Any], before: Resources) -> AsyncGenerator[object]:
    with supplying(before):
        manager = lifespan.open()
        try:
            value = await manager.__aenter__()
        except Exception as error:
            raise LifespanError(lifespan.name, error) from error
    try:
        yield value
    finally:
        try:
            with supplying(before):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await manager.__aexit__(None, None, None)
        except Exception:
            log.exception("the resource %r could not be closed", lifespan.name)


class ResourceThread:
    """A loop in a thread, on which resources are open within the block."""

    def __init__(self, lifespans: Sequence[Lifespan[Any]]) -> None:
        self._lifespans = lifespans
        self.open: Resources = NOTHING
        self.loop = asyncio.new_event_loop()
        self._opened: Future[Resources] = Future()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="aiki-resources", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open = self._opened.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(CLOSE_SECONDS_MAX)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What *work* comes to on the loop; it is cancelled if the waiting is interrupted."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            try:
                runner.run(self._stay())
            except BaseException as error:
                if self._opened.done():
                    raise
                self._opened.set_exception(error)

    async def _stay(self) -> None:
        async with opening(self._lifespans) as resources:
            self._opened.set_result(resources)
            await self._end.wait()
