"""Other code is here: runs that were parked by a bug in another build are tried again.

A thousand workers that connect at once cost one look, or two: those that come while it is under way share the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from aiki.v1 import common_pb2
from aiki_server.core.runs import Attention
from aiki_server.store.errors import StoreError

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub
    from aiki_server.rpc.session import Session

Kind = tuple[str, str, str, str]
"""Namespace, workflow and version, and the build that has come."""
log = structlog.get_logger(__name__)


class StalledRuns:
    """What is to be looked at."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._wanted: dict[Kind, None] = {}
        self._wake = asyncio.Event()

    def try_again(self, session: Session) -> None:
        """Its code may be right."""
        build = session.hello.build_id
        self._wanted |= {
            (session.namespace, handler.name, handler.version, build): None
            for handler in session.hello.workflows
        }
        self._wake.set()

    async def run(self) -> None:
        """One kind of run after the other, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                kind = next(iter(self._wanted))
                del self._wanted[kind]
                try:
                    await self._unstall(*kind)
                except StoreError as error:
                    log.warning("stalled runs cannot be read: resume them by hand", reason=str(error))

    async def _unstall(self, namespace: str, workflow: str, version: str, build: str) -> None:
        stores = self._hub.stores
        pages = await asyncio.gather(
            *(
                stores.listing.stalled(
                    partition=partition, namespace=namespace, workflow=workflow, version=version
                )
                for partition in range(stores.partitions)
            )
        )
        for run_id, failure in (entry for page in pages for entry in page):
            if common_pb2.Failure.FromString(failure).build_id != build:
                answer = await stores.runs.unstall(run_id=run_id)
                if isinstance(answer, Attention):
                    self._hub.attend(answer)
