"""What the tests of tracing run, in worker processes; some attempts wait for a file that the test makes."""

import asyncio
import os
from pathlib import Path

from opentelemetry import trace

from aiki_sdk import Failure, Retry, signal, task, workflow

FOLDER = Path(os.environ.get("TRACED_FOLDER", "."))
tracer = trace.get_tracer("shop")
approved = signal("approved", str)


class Unlucky(Failure):
    """The first attempt."""


@task(retry=Retry(attempts=5, first="50ms"))
async def charge(order: str) -> str:
    """Fails at first; the author's own span nests."""
    with tracer.start_as_current_span("ask the bank") as span:
        span.set_attribute("order", order)
        marker = FOLDER / f"{order}.charged"
        if not marker.exists():
            marker.touch()
            raise Unlucky("card reader asleep")
    trace.get_current_span().set_attribute("shop.paid", "yes")
    return f"receipt of {order}"


@task(timeout="60s")
async def pack(order: str) -> str:
    """Hangs in the worker that comes first, until that is killed; says which process it is in."""
    first = FOLDER / f"{order}.packing"
    if not first.exists():
        first.write_text(str(os.getpid()))
        await asyncio.Event().wait()
    return f"parcel of {order}"


@task(remote=True)
def label(order: str) -> str:
    """Goes by the queue, and runs in a thread."""
    with tracer.start_as_current_span("print"):
        return f"label of {order}"


@task(executor="process")
def weigh(order: str) -> int:
    """Runs in a process of its own."""
    with tracer.start_as_current_span("put on the scales"):
        return len(order)


@workflow
async def weighing(order: str) -> int:
    """One task in a child process."""
    return await weigh(order)


@workflow
async def ship(order: str) -> str:
    """The child."""
    return await pack(order)


@workflow
async def purchase(order: str) -> str:
    """The parent."""
    receipt = await charge(order)
    by = await approved.wait()
    parcel, printed = await asyncio.gather(ship.with_(id=f"ship-{order}")(order), label(order))
    return f"{receipt}, {parcel}, {printed}, by {by}"
