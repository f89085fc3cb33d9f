"""Opening and closing the resources of a worker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiki_task import ResourceMissingError, lifespan
from aiki_task.lifespan import supply
from aiki_worker.errors import LifespanError
from aiki_worker.resources import ResourceThread, opening

told: list[str] = []


@lifespan
async def first() -> AsyncIterator[str]:
    told.append("open first")
    yield "first"
    told.append("close first")


@lifespan
async def second() -> AsyncIterator[str]:
    told.append("open second")
    try:
        yield f"second on {first.get()}"
    finally:
        told.append(f"close second on {first.get()}")


@lifespan
async def broken() -> AsyncIterator[str]:
    if not told.count("somebody listens"):
        raise ConnectionError("nobody listens")
    yield ""


@lifespan
async def clumsy() -> AsyncIterator[str]:
    yield "clumsy"
    raise RuntimeError("dropped it")


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    told.clear()


async def test_in_order_and_back() -> None:
    """Each finds those before it; code outside tasks finds none."""
    async with opening([first, second]) as resources:
        assert resources == {first: "first", second: "second on first"}
        with pytest.raises(ResourceMissingError):
            first.get()
        assert told == ["open first", "open second"]
    assert told[2:] == ["close second on first", "close first"]


async def test_one_that_fails_is_told_and_the_others_are_closed() -> None:
    """By name, with the cause."""
    with pytest.raises(LifespanError, match="'broken' could not be opened: ConnectionError: nobody listens"):
        async with opening([first, broken, second]):
            pytest.fail("it is not open")
    assert told == ["open first", "close first"]


async def test_one_that_fails_to_close_does_not_keep_the_others_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged."""
    async with opening([first, clumsy]):
        pass
    assert told == ["open first", "close first"]
    assert "the resource 'clumsy' could not be closed" in caplog.text


def test_a_thread_keeps_them_open_for_sync_code() -> None:
    """And runs async code beside them."""

    async def use() -> tuple[str, bool]:
        supply(thread.open)
        return second.get(), asyncio.get_running_loop() is thread.loop

    with ResourceThread([first, second]) as thread:
        assert thread.run(use()) == ("second on first", True)
    assert told[-1] == "close first"

    with pytest.raises(LifespanError), ResourceThread([broken]):
        pytest.fail("it is not open")
