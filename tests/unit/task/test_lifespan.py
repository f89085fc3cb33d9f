"""Resources of tasks, without a worker."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aiki_task import DefinitionError, ResourceMissingError, lifespan, task

closed: list[str] = []


@lifespan
async def printer() -> AsyncIterator[str]:
    """A resource."""
    try:
        yield "the real printer"
    finally:
        closed.append("printer")


@task
async def show() -> str:
    """Use it on the loop."""
    return printer.get()


@task
def show_in_thread() -> str:
    """Use it in a thread."""
    return printer.get()


async def test_a_test_supplies_its_own() -> None:
    """For async and sync tasks; afterwards it is gone."""
    with printer.supplied("a fake"):
        assert (await show(), await show_in_thread()) == ("a fake", "a fake")
        with printer.supplied("another"):
            assert await show() == "another"
        assert await show() == "a fake"

    with pytest.raises(ResourceMissingError, match=r"'printer' is not open here.*printer\.supplied\(value\)"):
        await show()


async def test_the_real_one_is_opened_and_closed() -> None:
    """As a worker does it."""
    closed.clear()
    async with printer.opened() as value:
        assert value == "the real printer" == await show()
        assert closed == []
    assert closed == ["printer"]


async def not_a_generator() -> AsyncIterator[str]:
    raise NotImplementedError


async def with_arguments(url: str) -> AsyncIterator[str]:
    yield url


@pytest.mark.parametrize(
    ("function", "told"), [(not_a_generator, "no async generator"), (with_arguments, "wants arguments")]
)
def test_what_is_no_lifespan_is_refused(function: Callable[[], Any], told: str) -> None:
    """When it is defined."""
    with pytest.raises(DefinitionError, match=told):
        lifespan(function)


def test_executors_that_do_not_fit_are_refused() -> None:
    """A sync function would block the loop; an async one needs a loop; a typing error is told."""

    async def asynchronous() -> None: ...
    def synchronous() -> None: ...

    with pytest.raises(DefinitionError, match="would block the loop"):
        task(executor="asyncio")(synchronous)
    with pytest.raises(DefinitionError, match="is async and runs on the loop"):
        task(executor="thread")(asynchronous)
    with pytest.raises(DefinitionError, match="no executor 'gpu'"):
        task(executor="gpu")(synchronous)  # type: ignore[call-overload]
