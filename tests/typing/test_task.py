"""What type checkers must see of tasks; read by mypy and pyright, and run to show that it imports."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, assert_type

from aiki_task import Lifespan, Retry, Task, lifespan, task


@dataclass
class Receipt:
    amount: int


@task
async def charge(order_id: str, amount: int = 1) -> Receipt:
    return Receipt(amount)


@task(retry=Retry(5), timeout="30s", raises=(ValueError,))
async def refund(receipt: Receipt, *, reason: str) -> None: ...


@task
def count(words: list[str]) -> int:
    return len(words)


@task(name="resize-image")
def resize(image: bytes) -> bytes:
    return image


@task(executor="process")
def render(frame: int) -> bytes:
    return b""


@lifespan
async def pool() -> AsyncIterator[Receipt]:
    yield Receipt(1)


@lifespan
async def other_pool() -> AsyncGenerator[Receipt, None]:
    yield Receipt(1)


async def resources() -> None:
    """A resource has the type that its lifespan yields."""
    assert_type(pool, Lifespan[Receipt])
    assert_type(pool.get(), Receipt)
    assert_type(other_pool.get(), Receipt)
    with pool.supplied(Receipt(2)) as given:
        assert_type(given, Receipt)
    async with pool.opened() as opened:
        assert_type(opened, Receipt)
    pool.supplied("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    task(executor="gpu")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def calls() -> None:
    """Parameters and results are kept, for sync and async functions alike."""
    assert_type(await charge("o-1", 2), Receipt)
    assert_type(await charge(order_id="o-1"), Receipt)
    assert_type(await refund(Receipt(1), reason="late"), None)
    assert_type(await count(["a"]), int)
    assert_type(await resize(b""), bytes)
    assert_type(await render(3), bytes)


async def wrong_calls() -> None:
    """What does not fit is reported: each ignore below would be unused otherwise, which mypy refuses."""
    await charge(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await charge("o-1", amounts=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await refund(Receipt(1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    charge.with_(retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def options() -> None:
    """`with_` keeps the type."""
    assert_type(await charge.with_(key="first", timeout="1m")("o-1"), Receipt)
    assert_type(await count.with_(remote=True, queue="cpu")(["a"]), int)
    same: Task[[list[str]], int] = count
    assert_type(await same.with_()(["a"]), int)


async def together() -> None:
    """`gather` keeps its tuple, `TaskGroup` its results."""
    assert_type(await asyncio.gather(charge("o-1"), count([]), resize(b"")), tuple[Receipt, int, bytes])
    assert_type(await asyncio.gather(*(count([word]) for word in ("a", "b"))), list[int])
    async with asyncio.TaskGroup() as group:
        receipt = group.create_task(charge("o-1"))
        group.create_task(refund(Receipt(1), reason="late"))
    assert_type(receipt.result(), Receipt)


async def as_values() -> None:
    """A task can stand where a function that gives a coroutine is wanted."""
    starter: Callable[[list[str]], Coroutine[Any, Any, int]] = count
    assert_type(await starter([]), int)


async def test_calls_run() -> None:
    """Outside a run all of this is plain code."""
    await calls()
    await options()
    await together()
    await as_values()
