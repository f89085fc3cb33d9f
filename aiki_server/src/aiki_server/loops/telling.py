"""Has the other coordinators know how it is here, for people who look."""

from __future__ import annotations

import asyncio

import structlog

from aiki_server.rpc.cluster import TELL_SECONDS, Cluster
from aiki_server.store.errors import StoreError

log = structlog.get_logger(__name__)


async def keep_telling(cluster: Cluster) -> None:
    """Again and again, until cancelled."""
    while True:
        try:
            await cluster.tell()
        except StoreError as error:
            log.warning("the others cannot be told how it is here", reason=str(error))
        await asyncio.sleep(TELL_SECONDS)
