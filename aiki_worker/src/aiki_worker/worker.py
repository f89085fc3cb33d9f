"""A worker: handlers, a session on its own thread, and the main loop they meet on."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aiki_client.coordinators import Coordinators
from aiki_task.lifespan import Resources
from aiki_worker import metrics
from aiki_worker.clock import StoreClock
from aiki_worker.dispatcher import Dispatcher
from aiki_worker.handlers import Handlers, only
from aiki_worker.http import metrics_routes, probe_routes, serving_http
from aiki_worker.lines import Lines
from aiki_worker.resources import opening
from aiki_worker.session import Identity
from aiki_worker.session_thread import SessionThread
from aiki_worker.settings import WorkerSettings

log = logging.getLogger(__name__)


class Worker:
    """Serves *handlers* until told to stop. `drain` and `stop` may be called from any thread.

    Args:
        handlers: what it serves.
        settings: how much, and for whom.
        die: ends the process when its loop has been blocked for good.
    """

    def __init__(
        self, handlers: Handlers, settings: WorkerSettings, *, die: Callable[[int], object] = os._exit
    ) -> None:
        self.handlers = only(handlers, settings.serve)
        self.settings = settings
        self._die = die
        self._coordinators = Coordinators([settings.address])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatcher: Dispatcher | None = None
        self._end: asyncio.Future[None] | None = None
        self._wanted: Callable[[Dispatcher], None] | None = None
        self._opening: asyncio.Timeout | None = None  # the limit of opening resources, while that goes on

    def run_forever(self) -> None:
        """Serve until drained.

        Raises:
            AikiError: no coordinator would ever accept this worker.
        """
        asyncio.run(self.run())

    async def run(self) -> None:
        """Serve until drained; on cancellation everything is handed back.

        Raises:
            AikiError: no coordinator would ever accept this worker.
            LifespanError: a resource of its modules could not be opened.
        """
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None) as self._opening:
                    resources = await stack.enter_async_context(opening(self.handlers.lifespans))
            except TimeoutError:
                return  # told to stop before it began
            self._opening = None
            await self._serve(self._loop, resources)

    async def _serve(self, loop: asyncio.AbstractEventLoop, resources: Resources) -> None:
        end = self._end = loop.create_future()
        clock = StoreClock()
        dispatcher = self._dispatcher = Dispatcher(self.handlers, self.settings, clock, self._over, resources)
        session: SessionThread = SessionThread(
            Lines(
                self._coordinators,
                self.settings.connect_timeout.total_seconds() or None,
                self.settings.tls,
            ),
            self._identity(),
            clock,
            heard=dispatcher.pump,
            doing=dispatcher.doing,
            die=self._die,
            beside=partial(self._serving_http, lambda: session.is_connected),
        )
        dispatcher.connect(session)
        session.start()
        if self._wanted is not None:
            self._wanted(dispatcher)
        dispatcher.show()
        lag = asyncio.ensure_future(metrics.feel_lag())
        try:
            await end
        finally:
            lag.cancel()
            dispatcher.hand_back_all()
            dispatcher.pump()
            await session.close()
            await dispatcher.close()
            self._dispatcher = None

    def drain(self) -> None:
        """Hand unstarted work back, finish what runs within the grace, then end."""
        self._tell(self._drain)

    def stop(self) -> None:
        """Hand everything back and end."""
        self._tell(Dispatcher.hand_back_all)

    def _drain(self, dispatcher: Dispatcher) -> None:
        log.info("draining: running work has %g s to finish", self.settings.grace.total_seconds())
        dispatcher.drain()
        assert self._loop is not None
        self._loop.call_later(self.settings.grace.total_seconds(), dispatcher.hand_back_all)

    @asynccontextmanager
    async def _serving_http(self, is_connected: Callable[[], bool]) -> AsyncGenerator[None]:
        if not self.settings.http:
            yield
            return

        def problems() -> list[str]:
            connected = [] if is_connected() else ["The worker is not connected to a coordinator."]
            draining = [] if self._wanted is None else ["The worker is draining: it takes nothing new."]
            return connected + draining

        metrics.CONNECTED.observe = lambda: float(is_connected())
        routes = [*probe_routes(problems), *metrics_routes(metrics.REGISTRY)]
        async with serving_http(self.settings.http, routes) as address:
            log.info("serving http at %s", address)
            yield

    def _tell(self, wish: Callable[[Dispatcher], None]) -> None:
        self._wanted = wish
        loop, dispatcher = self._loop, self._dispatcher
        if loop is not None and dispatcher is not None:
            loop.call_soon_threadsafe(wish, dispatcher)
        elif loop is not None:
            loop.call_soon_threadsafe(self._open_no_more)

    def _open_no_more(self) -> None:
        if self._opening is not None:
            assert self._loop is not None
            self._opening.reschedule(self._loop.time())

    def _over(self, error: Exception | None) -> None:
        assert self._end is not None
        if self._end.done():
            return
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    def _identity(self) -> Identity:
        settings, handlers = self.settings, self.handlers
        return Identity(
            namespace=settings.namespace,
            session_id=secrets.token_hex(8),
            identity=settings.identity,
            build_id=settings.build_id or handlers.build_id,
            queues=settings.queues,
            workflows=list(handlers.workflows),
            tasks=list(handlers.tasks),
            slots=settings.slots,
            prefetch=settings.prefetch,
            labels=settings.label_texts,
            queue_slots=settings.queue_slots,
            queue_weights=settings.queue_weights,
        )
