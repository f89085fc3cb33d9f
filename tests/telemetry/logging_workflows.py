"""What the tests of logs run, in worker processes."""

import asyncio
import logging
import os
from pathlib import Path

import structlog

from aiki_sdk import signal, task, workflow

FOLDER = Path(os.environ.get("LOGGING_FOLDER", "."))
log = logging.getLogger("shop")
go_on = signal("go on", str)


@task
async def greet(name: str) -> str:
    """Runs where its run does."""
    log.info("greeting %s", name)
    log.debug("nobody is to see this")
    try:
        raise ValueError("no such hat")
    except ValueError:
        log.exception("hat trouble")
    return f"hello {name}"


@task(remote=True)
def wave(name: str) -> str:
    """Goes by the queue, in a thread."""
    structlog.get_logger("shop.hands").warning("waving", to=name)
    return "wave"


@task(executor="process")
def nod(name: str) -> str:
    """In a process of its own."""
    log.info("nodding to %s", name)
    return "nod"


@task(timeout="60s")
async def hang() -> str:
    """Says so and hangs, in the worker that comes first."""
    marker = FOLDER / "hangs"
    log.info("hanging about")
    if not marker.exists():
        marker.write_text(str(os.getpid()))
        await asyncio.Event().wait()
    return "done"


@task
async def babble(lines: int) -> int:
    """More than anybody reads, in bursts."""
    for number in range(lines):
        log.info("line %d", number)
        if number % 100 == 99:
            await asyncio.sleep(0.05)
    return lines


@workflow
async def meet(name: str) -> str:
    """Logs between its steps; waits for a signal, so that it is replayed."""
    log.info("meeting %s", name)
    hello = await greet(name)
    log.info("greeted")
    await go_on.wait()
    log.info("going on")
    await wave(name)
    await nod(name)
    log.info("%s is gone", name)
    return hello


@workflow
async def linger() -> str:
    """Has a task that hangs."""
    log.info("lingering")
    return await hang()


@workflow
async def chatter(lines: int) -> int:
    """Has a task that says a lot."""
    return await babble(lines)
