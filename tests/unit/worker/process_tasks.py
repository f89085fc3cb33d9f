"""Tasks that run in child processes, and what may go wrong there."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiki_task import (
    AttemptCancelled,
    Failure,
    RetryAfter,
    complete_later,
    current_task,
    heartbeat,
    lifespan,
    task,
)

log = logging.getLogger(__name__)


class OutOfPaperError(Failure):
    """A declared failure."""

    def __init__(self, tray: int) -> None:
        super().__init__(f"tray {tray} is empty")
        self.tray = tray


@lifespan
async def printer() -> AsyncIterator[str]:
    """A resource of each process."""
    yield f"printer of {os.getpid()}"


@task(executor="process")
def where(words: list[str], data: bytes = b"") -> dict[str, str]:
    """Say where it runs, and on what."""
    return {
        "pid": str(os.getpid()),
        "words": " ".join(words),
        "data": data.decode(),
        "key": current_task().idempotency_key,
        "attempt": str(current_task().attempt),
        "deadline": str(current_task().deadline_ms),
        "printer": printer.get(),
    }


@task(executor="process")
async def where_async() -> str:
    """The same on the child's loop."""
    await asyncio.sleep(0)
    return printer.get()


@task(executor="process", raises=(OutOfPaperError,))
def fail() -> None:
    """Fail as declared."""
    raise OutOfPaperError(3)


@task(executor="process")
def fail_later() -> None:
    """Ask for another attempt."""
    raise RetryAfter("7s", "no paper yet")


@task(executor="process", deferred=True)
def put_off() -> None:
    """Give the outcome elsewhere."""
    complete_later()


@task(executor="process")
def read_bytes() -> bytes:
    """A result that is no JSON."""
    return b"\x00\xff"


@task(executor="process")
def crash() -> None:
    """Read at address 0."""
    ctypes.string_at(0)


@task(executor="process")
def exit_at_once(status: int) -> None:
    """Leave without a word."""
    os._exit(status)


@task(executor="process")
def kill_oneself() -> None:
    """As the kernel does it when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(executor="process")
def wait_for(path: str) -> str:
    """Until somebody makes a file."""
    Path(path + ".waits").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return "seen"


@task(executor="process")
def obey(path: str) -> None:
    """Beat until told to stop, and clean up."""
    count = current_task().checkpoint(int) or 0
    try:
        while True:
            count += 1
            heartbeat(count)
            time.sleep(0.01)
    except AttemptCancelled:
        Path(path).write_text("cleaned up", encoding="utf-8")
        raise


@task(executor="process")
async def obey_async(path: str) -> None:
    """The same by asyncio's means."""
    Path(path + ".waits").touch()  # noqa: ASYNC240  seen from outside
    try:
        await asyncio.Event().wait()
    finally:
        Path(path).write_text("cleaned up", encoding="utf-8")  # noqa: ASYNC240  as above


@task(executor="process")
def listen_to_nobody(path: str) -> None:
    """Take SIGTERM to end it, whose cleaning up is seen."""
    try:
        Path(path + ".waits").touch()
        while True:
            time.sleep(60)
    finally:
        Path(path).write_text("terminated", encoding="utf-8")


@task(executor="process")
def hold_on(path: str) -> None:
    """Only SIGKILL ends it."""
    while True:
        try:
            Path(path + ".waits").touch()
            time.sleep(60)
        except BaseException as error:  # noqa: BLE001  the point
            Path(path).write_text(type(error).__name__, encoding="utf-8")


@task(executor="process")
def talk() -> None:
    """Log and print."""
    log.warning("from %s", "a child", extra={"tray": 7})
    try:
        raise ValueError("jam")
    except ValueError:
        log.exception("it broke")
    print("printed by a child", file=sys.stdout)
