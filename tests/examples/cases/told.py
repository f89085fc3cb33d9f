"""Messages of every kind, to a chain of runs: each counts once."""

import contextlib
from collections.abc import Awaitable, Callable

from aiki_client import Client, NoWorkerError
from aiki_sdk import main, publish, query, remote_run, signal, update, updates_answered, workflow
from examples.language.waiting import until

add = signal("add", int)
EXPECTED = [[1, 2, 3], "sent", 16, 16, b"16", 16]


@workflow
class Sum:
    """Adds up what it is told, over several runs."""

    def __init__(self) -> None:
        self.total = 0

    @main
    async def run(self, total: int, left: int) -> int:
        """Two signals in each run."""
        self.total = total
        for _ in range(2):
            self.total += await add.wait()
            publish("total", self.total)
            left -= 1
            if not left:
                return self.total
        await updates_answered()
        return Sum.run.continue_as_new(self.total, left)

    @update
    async def number(self, number: int) -> int:
        """The same as it was given."""
        return number

    @query
    def now(self) -> int:
        """The sum so far."""
        return self.total


@workflow
async def tells(to: str) -> str:
    """From within a run."""
    await remote_run(to).signal(add, 10)
    return "sent"


async def scenario(client: Client) -> list[object]:
    """What came of all of it."""
    run = await client.start(Sum.run.with_(id="sum"), 0, 4)
    for number in (1, 2, 3):
        await run.signal(add, number, dedupe_id=f"number {number}")
        await run.signal(add, number, dedupe_id=f"number {number}")
    answers = [await _update(client, number) for number in (1, 2, 3)]
    sent = await (await client.start(tells.with_(id="teller"), "sum")).result("30s")
    total = await run.result("30s")
    last = await client.run("sum", Sum.run)

    async def published() -> bytes:
        return (await last.describe()).published["total"].data

    return [
        answers,
        sent,
        total,
        await _patiently(lambda: last.query(Sum.now)),
        await until(published, bool),
        await last.result("30s"),
    ]


async def _update(client: Client, number: int) -> int:
    run = await client.run("sum")
    return await _patiently(lambda: run.update(Sum.number.with_(id=f"update {number}"), number))


async def _patiently(ask: Callable[[], Awaitable[int]]) -> int:
    """As the error says: again, while the other worker is not there yet."""
    while True:
        with contextlib.suppress(NoWorkerError):
            return await ask()
