"""Workflows of tests/system/test_language.py and its neighbours: what a long-lived process can say."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiki_task import Failure, Retry, task
from aiki_workflow import (
    ChildFailed,
    Graph,
    HookInfo,
    Saga,
    SignalFailed,
    TaskCancelledError,
    UpdateRejected,
    main,
    map,  # noqa: A004  the field's word
    now,
    publish,
    query,
    remote_run,
    run_info,
    signal,
    sleep,
    update,
    workflow,
)

go = signal("go", str)
number = signal("number", int)


class Unlucky(Failure):
    """A declared failure."""


@task(retry=Retry.none())
async def double(value: int) -> int:
    return value * 2


@task(retry=Retry.none(), timeout="10m")
async def slow() -> str:
    await asyncio.sleep(600)
    return "never"


@task
async def note(text: str) -> str:
    return text


@workflow
async def child_doubles(value: int) -> int:
    if value == 13:
        raise Unlucky("thirteen")
    return await double(value)


@workflow
async def fan_out(count: int) -> int:
    return sum(await asyncio.gather(*(child_doubles(value) for value in range(100, 100 + count))))


@workflow
async def parent_of_unlucky() -> str:
    try:
        await child_doubles(13)
    except ChildFailed as error:
        return f"{error.type_name}: {error.message}"
    return "no failure"


@workflow
async def waits_for_go() -> str:
    try:
        return await go.wait()
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(note("cleaned up")))
        raise


@workflow
async def parent_with_handle(child_id: str) -> str:
    child = await waits_for_go.with_(id=child_id).start()
    await child.signal(go, "from the parent")
    return await child.result()


@workflow
async def takes_id(child_id: str) -> str:
    try:
        await waits_for_go.with_(id=child_id).start()
    except ChildFailed as error:
        return error.type_name
    return "started"


@workflow
async def family(child_id: str, levels: int) -> str:
    try:
        if levels == 0:
            return await go.wait()
        return await family.with_(id=f"{child_id}/{levels - 1}")(child_id, levels - 1)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(note(f"cleaned up {levels}")))
        raise


@workflow
async def leaves_children(prefix: str) -> str:
    for policy in ("cancel", "leave", "terminate"):
        await waits_for_go.with_(id=f"{prefix}-{policy}", close_policy=policy).start()
    return "done"


@workflow
async def signals_another(workflow_id: str) -> str:
    try:
        await remote_run(workflow_id).signal(go, "from another run")
    except SignalFailed as error:
        return str(error)
    return "sent"


@workflow
async def counts(rounds: int, total: int = 0) -> int:
    total += await number.wait()
    if rounds > 1:
        counts.continue_as_new(rounds - 1, total)
    return total


@workflow(retry=Retry.fixed("10ms", attempts=3))
async def third_time_lucky() -> int:
    if run_info().attempt < 3:
        raise Unlucky(f"attempt {run_info().attempt}")
    return run_info().attempt


@workflow(timeout="200ms")
async def too_slow() -> str:
    await sleep("1h")
    return "never"


@workflow
async def sleeps(duration: str) -> str:
    started = now()
    await sleep(duration)
    return f"{(now() - started).total_seconds():.1f}"


@workflow
async def publishes() -> str:
    publish("progress", {"done": 1, "of": 2})
    await go.wait()
    publish("progress", {"done": 2, "of": 2})
    return "published"


@workflow
async def runs_slow_task() -> str:
    try:
        return await slow()
    except TaskCancelledError as error:
        return f"cancelled: {error.message}"


events_of_hooks: list[str] = []


@task
async def hook(info: HookInfo) -> str:
    return f"{info.phase} {info.result} {info.error_type}"


@workflow(before=[hook], after=[hook], on_complete=[hook], on_error=[hook], on_cancel=[hook], on_sleep=[hook])
async def hooked(how: str) -> str:
    if how == "fail":
        raise Unlucky("as asked")
    if how == "wait":
        await go.wait()
    await sleep("10ms")
    return how


@task(retry=Retry.none())
async def book(what: str) -> str:
    if what == "hotel":
        raise Unlucky("no rooms")
    return f"{what}-1"


@task
async def cancel_booking(booking: str) -> str:
    return booking


@task(retry=Retry.none())
async def cannot_cancel(booking: str) -> str:
    raise Unlucky(f"{booking} is final")


@workflow
async def books_trip(flight_is_final: bool) -> str:
    async with Saga() as saga:
        undo = cannot_cancel if flight_is_final else cancel_booking
        await saga.do(book("flight"), undo=undo, name="flight")
        await saga.do(book("car"), undo=cancel_booking, name="car")
        await saga.do(book("hotel"), undo=cancel_booking, name="hotel")
    return "booked"


@dataclass
class Item:
    name: str
    count: int = 1


@dataclass
class Receipt:
    items: list[Item] = field(default_factory=list)


@workflow
class Cart:
    """A shopping cart."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.closed = False

    @main
    async def run(self, customer: str) -> Receipt:
        while not self.closed:
            await go.wait()
            self.closed = True
        return Receipt(self.items)

    @query
    def count(self) -> int:
        return sum(item.count for item in self.items)

    @query
    def broken(self) -> Any:
        raise RuntimeError("a bug in a query")

    @update
    async def add(self, item: Item) -> int:
        await note(f"adding {item.name}")
        self.items.append(item)
        return len(self.items)

    @add.validator
    def check_item(self, item: Item) -> None:
        if item.count < 1:
            raise UpdateRejected(f"{item.count} {item.name}: at least one")

    @update
    async def fails(self) -> None:
        raise Unlucky("as it always does")


diamond = Graph("diamond")
_start = diamond.input("start", int)
_left = diamond.add(double, _start, name="left")
_right = diamond.add(double, 10, name="right")
_cheap = diamond.add(
    note, "cheap", name="cheap", when=lambda results: results.get(_left, 0) < 5, after=[_left]
)
_child = diamond.add(child_doubles, _left, name="child", after=[_right])
_last = diamond.add(note, "last", name="last", after=[_cheap, _child], join="any")


@workflow
async def runs_graph(start: int) -> list[int | str]:
    """A graph with a condition, a child and a join."""
    results = await diamond.run(start=start)
    return [results.get(_cheap, "skipped"), results[_child], results[_last]]


@workflow
async def runs_failing_graph() -> str:
    """A node that fails makes the run fail."""
    graph = Graph("failing")
    graph.add(child_doubles, 13)
    graph.add(double, 1)
    await graph.run()
    return "never"


@task
async def squares(value: int) -> int:
    """The square; the last of the unlucky ones fails."""
    if value == -13:
        raise Unlucky("minus thirteen")
    return value * value


@workflow
async def maps(count: int, limit: int) -> int:
    """One line for any number of items, in order."""
    results = await map(squares, list(range(count)), limit=limit)
    assert results == [value * value for value in range(count)]
    return sum(results)


@workflow
async def maps_unlucky(count: int) -> str:
    """One of them fails for good."""
    await map(squares, [-13, *range(count)])
    return "never"
