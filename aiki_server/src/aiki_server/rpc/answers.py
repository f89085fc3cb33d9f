"""What is done with the store's answers: calls are futures, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog

from aiki_server.store.errors import StoreError

T = TypeVar("T")
log = structlog.get_logger(__name__)


def when_done(
    future: asyncio.Future[T],
    then: Callable[[T], None],
    failed: Callable[[StoreError], None] | None = None,
) -> None:
    """Call *then* with the answer, or *failed*; without that the sweep heals what the store refused."""

    def done(finished: asyncio.Future[T]) -> None:
        if finished.cancelled():
            return
        error = finished.exception()
        if error is None:
            then(finished.result())
            return
        log.warning("the store refused", reason=str(error))
        if failed is not None and isinstance(error, StoreError):
            failed(error)

    future.add_done_callback(done)
