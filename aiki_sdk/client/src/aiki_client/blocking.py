"""Use the client from plain, blocking code.

    with Blocking() as block:
        client = block.enter(Client.connect("localhost:7700"))
        run = block(client.start(hello, "Ada"))
        print(block(run.result(timeout="1m")))
        for event in block.each(run.history()):
            print(event)

It is no second client: it runs what the one client returns, so types and behaviour are the same.
Invariant: everything runs on one loop, in the calling thread, and is over when the `with` block is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Blocking:
    """Runs awaitables to their end; Ctrl-C cancels the one that runs.

    Raises (when entered):
        RuntimeError: this thread runs an event loop: await things there.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        refuse_running_loop("Blocking")
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self(self._stack.aclose())
        finally:
            self._runner.close()

    def __call__(self, awaitable: Awaitable[T]) -> T:
        """The result of *awaitable*."""
        return self._runner.run(_awaited(awaitable))

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter *context*; it is left at the end of the `with` block."""
        return self(self._stack.enter_async_context(context))

    def each(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        """The items of *items*, one by one as they come."""
        try:
            while True:
                try:
                    item = self(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                self(close())


def refuse_running_loop(what: str) -> None:
    """Raise RuntimeError where *what* would block a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{what} blocks, and this thread runs an event loop: await what Client returns there")


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
