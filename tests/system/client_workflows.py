"""What the tests of the client and of the command run."""

from dataclasses import dataclass

from aiki_sdk import Failure, Retry, signal, sleep, task, workflow

approved = signal("approved", bool)


@dataclass
class Order:
    """Something to buy."""

    id: str
    amount: int


class OutOfStock(Failure):
    """There is none left."""

    def __init__(self, item: str) -> None:
        super().__init__(f"no {item} left")
        self.item = item


class BrokenShopError(Exception):
    """Fails a run only because `fails_on` says so."""


@task(retry=Retry.none())
async def charge(order: Order) -> str:
    """Refuse what costs nothing."""
    if order.amount <= 0:
        raise ValueError(f"amount {order.amount} is not positive")
    return f"receipt for {order.id}"


@workflow(version="1")
async def buy(order: Order) -> str:
    """One task; fails with it."""
    return await charge(order)


@workflow(version="1", fails_on=(BrokenShopError,))
async def sell(item: str) -> str:
    """Fails in either way that a caller can catch."""
    if item == "shop":
        raise BrokenShopError("closed for repair")
    raise OutOfStock(item)


@workflow(version="1")
async def ask(question: str) -> bool:
    """Wait for a signal."""
    answer: bool = await approved.wait()
    return answer


@workflow(version="1")
async def doze(duration: str) -> str:
    """Sleep."""
    await sleep(duration)
    return "rested"


@workflow(version="2")
async def buggy(name: str) -> str:
    """Stalls."""
    return name.no_such_method()  # type: ignore[attr-defined, no-any-return]  # the bug is the point
