"""Tell when the main loop is blocked, and let go of everything when it stays so.

Lives on the session thread. Invariant: three lease TTLs of blocking cost a report and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

FROZEN_AFTER_TTLS: Final = 10
REPORT_SECONDS_MAX: Final = 4.0
RELEASE_SECONDS_MAX: Final = 2.0
FROZEN_STATUS: Final = 70

log = logging.getLogger(__name__)


@unique
class Verdict(Enum):
    """What to do about a loop."""

    WAIT = "wait"
    REPORT = "report"
    GIVE_UP = "give up"


@dataclass(slots=True, kw_only=True)
class Judge:
    """When a blocked loop is reported, at first and at each doubling, and when it is given up."""

    report_after_s: float
    give_up_after_s: float
    _next_report_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._next_report_s = self.report_after_s

    @classmethod
    def for_ttl(cls, ttl_s: float) -> Judge:
        return cls(report_after_s=min(REPORT_SECONDS_MAX, ttl_s), give_up_after_s=FROZEN_AFTER_TTLS * ttl_s)

    def verdict(self, blocked_s: float) -> Verdict:
        """What to do about a loop that has been blocked for *blocked_s*."""
        if blocked_s >= self.give_up_after_s:
            return Verdict.GIVE_UP
        if blocked_s >= self._next_report_s:
            self._next_report_s = max(blocked_s, self._next_report_s * 2)
            return Verdict.REPORT
        return Verdict.WAIT

    def answered(self) -> None:
        """The loop is alive."""
        self._next_report_s = self.report_after_s


class Watchdog:
    """Asks the loop of the thread that made it for a sign of life, again and again."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        doing: Callable[[], str],
        let_go: Callable[[], Awaitable[None]],
        die: Callable[[int], object],
    ) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._doing = doing
        self._let_go = let_go
        self._die = die
        self._answered = threading.Event()

    async def watch(self, ttl_s: float) -> None:
        """Watch until cancelled, or until the loop is closed."""
        judge = Judge.for_ttl(ttl_s)
        pause_s = min(1.0, judge.report_after_s / 4)
        while True:
            self._answered.clear()
            asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return
            await asyncio.sleep(pause_s)
            while not self._answered.is_set():
                blocked_s = time.monotonic() - asked
                match judge.verdict(blocked_s):
                    case Verdict.REPORT:
                        self._report(blocked_s)
                    case Verdict.GIVE_UP:
                        await self._give_up(blocked_s)
                        return
                    case Verdict.WAIT:
                        pass
                await asyncio.sleep(pause_s)
            judge.answered()

    def _report(self, blocked_s: float) -> None:
        log.warning(
            "loop blocked %.1f s in %s: use await, or a task that is no coroutine\n%s",
            blocked_s,
            self._doing(),
            stack_of_thread(self._thread),
        )

    async def _give_up(self, blocked_s: float) -> None:
        log.critical(
            "loop blocked %.1f s in %s: releasing all work and exiting\n%s",
            blocked_s,
            self._doing(),
            stack_of_thread(self._thread),
        )
        try:
            async with asyncio.timeout(RELEASE_SECONDS_MAX):
                await self._let_go()
        except TimeoutError:
            log.error("the releases were not answered in time; the leases expire by themselves")
        self._die(FROZEN_STATUS)


def stack_of_thread(ident: int) -> str:
    """Where a thread is right now; empty when it is gone."""
    frame = sys._current_frames().get(ident)  # pyright: ignore[reportPrivateUsage]  the only way
    return "" if frame is None else "".join(traceback.format_stack(frame))
