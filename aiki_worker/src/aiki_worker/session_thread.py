"""The thread of the session, and the way between it and the main loop.

Invariant: each direction costs one wake-up a batch, whatever the batch holds.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

from aiki.v1 import worker_pb2
from aiki_worker import messages
from aiki_worker.clock import StoreClock
from aiki_worker.lines import Lines
from aiki_worker.session import Identity, Session
from aiki_worker.watchdog import Watchdog

JOIN_SECONDS_MAX: Final = 5.0
GIVEN: Final = (messages.RunGrant, messages.TaskAssignment)


class SessionThread:
    """A session on a loop of its own; made and used on the main loop.

    `heard` is called on the main loop when something has arrived; `take` gives it. What `beside` opens is open, on
    the session's loop, for as long as the session.
    """

    def __init__(
        self,
        lines: Lines,
        identity: Identity,
        clock: StoreClock,
        *,
        heard: Callable[[], None],
        doing: Callable[[], str],
        die: Callable[[int], object],
        beside: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> None:
        self._beside = beside
        self._main = asyncio.get_running_loop()
        self._lines = lines
        self._identity = identity
        self._clock = clock
        self._heard = heard
        self._inbox: deque[messages.Inbound] = deque()
        self._inbox_lock = threading.Lock()
        self._told = False  # a call of `heard` is under way
        self._early: list[tuple[int, list[worker_pb2.WorkerMessage]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Session | None = None
        self._watchdog = Watchdog(self._main, doing=doing, let_go=self._let_go, die=die)
        self._thread = threading.Thread(target=self._run, name="aiki-session", daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        """Begin; connecting goes on behind the scenes."""
        self._thread.start()
        self._ready.wait()

    def submit(self, stream: int, batch: list[worker_pb2.WorkerMessage]) -> None:
        """Say *batch*, in order."""
        if self._session is not None:
            self._session.submit(stream, batch)
            self._call(self._session.wake)

    def take(self) -> list[messages.Inbound]:
        """What has arrived since the last time, in order."""
        self._told = False
        with self._inbox_lock:
            taken = list(self._inbox)
            self._inbox.clear()
        return taken

    @property
    def is_connected(self) -> bool:
        """Whether a coordinator has welcomed it on the current stream."""
        return self._session is not None and self._session.is_connected

    async def close(self) -> None:
        """End the session once all is said and answered, or after a few seconds."""
        if self._session is not None:
            self._call(self._session.close)
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS_MAX)
        if self._thread.is_alive() and self._loop is not None:
            self._call(self._cancel)
            await asyncio.to_thread(self._thread.join, JOIN_SECONDS_MAX)

    def _call(self, function: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the session ended by itself
            return

    def _cancel(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._deliver([messages.Fatal(error)])
            raise
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_tell_unless_noise)
        self._session = Session(self._lines, self._identity, self._clock, self._deliver)
        self._ready.set()
        async with self._beside(), asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(self._session))
            await self._session.run()
            watch.cancel()

    async def _watch(self, session: Session) -> None:
        await session.welcomed.wait()
        await self._watchdog.watch(session.ttl_s)

    def _give_back(self, message: messages.Inbound) -> bool:
        """Whether *message* recalls what the main loop has not come to, so that it goes back from here."""
        if not isinstance(message, messages.Recall) or not message.unstarted_only or self._session is None:
            return False
        for at, given in enumerate(self._inbox):
            if isinstance(given, GIVEN) and given.lease == message.lease:
                self._inbox[at] = messages.Withdrawn(given)
                self._session.give_back(message.lease)
                return True
        return False

    async def _let_go(self) -> None:
        if self._session is not None:
            await self._session.release_all()

    def _deliver(self, batch: list[messages.Inbound]) -> None:
        """On the session thread."""
        with self._inbox_lock:
            for message in batch:
                if not self._give_back(message):
                    self._inbox.append(message)
        if not self._told:
            self._told = True
            try:
                self._main.call_soon_threadsafe(self._heard)
            except RuntimeError:  # the main loop is gone, and nobody wants to hear it
                return


def _tell_unless_noise(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One poller of grpc serves all loops of a process and finds some sockets read by another: no error."""
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)
