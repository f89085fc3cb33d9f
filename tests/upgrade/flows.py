"""What runs while a cluster changes its version; written in words that both versions know."""

import asyncio
from pathlib import Path

from aiki_sdk import main, publish, query, signal, sleep, task, update, workflow

go = signal("go", int)


@task
async def near(log: str, number: int) -> int:
    """A step on the worker that holds the run."""
    note(log, f"near {number}")
    return number


@task(remote=True)
def far(log: str, number: int) -> int:
    """A step that goes through the queue."""
    note(log, f"far {number}")
    return number * 10


@workflow(version="1")
async def quick(log: str, number: int) -> int:
    """Both kinds of steps."""
    local, remote = await asyncio.gather(near(log, number), far(log, number))
    return local + remote


@workflow(version="1")
async def waits(log: str, number: int) -> int:
    """For a signal, between steps."""
    before = await near(log, number)
    publish("stage", "waiting")
    return before + await go.wait() + await far(log, number)


@workflow(version="1")
async def sleeps(log: str, number: int) -> int:
    """For longer than a change of version takes a step."""
    before = await near(log, number)
    await sleep("3s")
    return before + await far(log, number)


@workflow(version="1")
async def parent(log: str, number: int) -> int:
    """Of three children that wait."""
    children = [waits.with_(id=f"child-{number}-{index}")(log, number + index) for index in range(3)]
    return sum(await asyncio.gather(*children))


@workflow(version="1")
class Cart:
    """Has updates and a query."""

    def __init__(self) -> None:
        self.items: list[str] = []

    @main
    async def run(self) -> list[str]:
        await go.wait()
        return self.items

    @update
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @query
    def count(self) -> int:
        return len(self.items)


def note(log: str, what: str) -> None:
    """It was executed."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(what + "\n")
