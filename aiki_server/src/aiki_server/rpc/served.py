"""Has the store know which handlers are served: once for all sessions that serve the same, not at every renewal."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiki_server.rpc.session import Session
    from aiki_server.store.sessions import SessionStore

KEPT_MAX: Final = 1000


class Served:
    """What is said holds for two lease TTLs, and is said again after two thirds of one."""

    def __init__(self, store: SessionStore, ttl_ms: int) -> None:
        self._store = store
        self._ttl_ms = ttl_ms
        self._said_s: OrderedDict[tuple[str, tuple[str, ...], frozenset[str]], float] = OrderedDict()

    def say(self, session: Session) -> asyncio.Future[None]:
        """See to it that the store knows what the session serves."""
        about = (session.namespace, session.queues, session.handlers)
        now_s = time.monotonic()
        said_s = self._said_s.get(about)
        if said_s is not None and now_s - said_s < self._ttl_ms / 1500:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self._said_s[about] = now_s
        self._said_s.move_to_end(about)
        if len(self._said_s) > KEPT_MAX:
            self._said_s.popitem(last=False)
        said = self._store.record_handlers(
            namespace=session.namespace,
            queues=session.queues,
            handlers=session.handlers,
            ttl_ms=2 * self._ttl_ms,
        )

        def forget_failed(future: asyncio.Future[None]) -> None:
            if future.cancelled() or future.exception() is not None:
                self._said_s.pop(about, None)

        said.add_done_callback(forget_failed)
        return said
