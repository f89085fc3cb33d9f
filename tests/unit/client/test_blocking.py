"""The blocking wrapper runs what the async client returns."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aiki_client.blocking import Blocking


async def _double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def _count(closed: list[str]) -> AsyncGenerator[int, None]:
    try:
        for number in range(3):
            await asyncio.sleep(0)
            yield number
    finally:
        closed.append("iterator")


def test_gives_results_and_raises_errors() -> None:
    """As if they were awaited."""

    async def fail() -> None:
        raise ValueError("no")

    with Blocking() as block:
        assert block(_double(21)) == 42
        with pytest.raises(ValueError, match="no"):
            block(fail())


def test_iterates_and_closes() -> None:
    """A loop that is left early closes its iterator."""
    closed: list[str] = []
    with Blocking() as block:
        assert list(block.each(_count(closed))) == [0, 1, 2]
        items = block.each(_count(closed))
        assert next(items) == 0
        items.close()

    assert closed == ["iterator", "iterator"]


def test_leaves_contexts_in_reverse_order() -> None:
    """What was entered is left at the end, the last first."""
    left: list[str] = []

    @asynccontextmanager
    async def context(name: str) -> AsyncIterator[str]:
        yield name
        left.append(name)

    with Blocking() as block:
        assert block.enter(context("client")) == "client"
        assert block.enter(context("other")) == "other"
        assert left == []

    assert left == ["other", "client"]


async def test_refuses_to_block_a_running_loop() -> None:
    """Async code awaits instead."""
    with pytest.raises(RuntimeError, match="await what Client returns"), Blocking():
        raise AssertionError("it was entered")
