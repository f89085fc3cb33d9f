"""Whether this coordinator should be given work, told by gRPC's health service and by `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from grpc_health.v1 import health, health_pb2

from aiki_server.rpc.hub import Hub
from aiki_server.store import StoreHealth

LOOK_SECONDS: Final = 0.5
LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
log = structlog.get_logger(__name__)


class Readiness:
    """`problems` has a sentence for each reason not to be given work; none: ready.

    The health service answers for `liveness`, always SERVING, and for `readiness`, "" and *services*, which are
    SERVING while there is no problem.
    """

    def __init__(
        self, store: StoreHealth, hub: Hub, checks: health.aio.HealthServicer, services: Iterable[str]
    ) -> None:
        self._store = store
        self._hub = hub
        self._checks = checks
        self._services = ("", READINESS, *services)
        self._told: bool | None = None

    def problems(self) -> list[str]:
        """As it is now."""
        draining = (
            ["The coordinator is draining: it takes nothing new."] if self._hub.draining.is_set() else []
        )
        return draining + self._store.problems

    async def run(self) -> None:
        """Keep the health service up to date, until cancelled."""
        await self._checks.set(LIVENESS, SERVING)
        while True:
            await self.tell()
            await asyncio.sleep(LOOK_SECONDS)

    async def tell(self) -> None:
        """Once, if it has changed."""
        problems = self.problems()
        is_ready = not problems
        if is_ready == self._told:
            return
        if self._told is not None and not self._hub.draining.is_set():
            log.info("ready again") if is_ready else log.warning("not ready", reasons=" ".join(problems))
        self._told = is_ready
        for service in self._services:
            await self._checks.set(service, SERVING if is_ready else NOT_SERVING)
