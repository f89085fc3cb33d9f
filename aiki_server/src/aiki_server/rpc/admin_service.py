"""The service of operators."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from typing import Any, Final

import grpc

from aiki.v1 import admin_pb2, admin_pb2_grpc
from aiki_server.core import ids
from aiki_server.core.diagnosis import Facts, Seen, Severity, findings_of
from aiki_server.rpc.cluster import Cluster
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.queue_view import list_queues
from aiki_server.rpc.status import refuse_store
from aiki_server.store.errors import StoreError

PATIENCE_SECONDS: Final = 3.0
"""A store that does not answer is a finding, not a reason to let the operator wait."""
SEVERITIES: Final = {
    Severity.OK: admin_pb2.SEVERITY_OK,
    Severity.WARNING: admin_pb2.SEVERITY_WARNING,
    Severity.PROBLEM: admin_pb2.SEVERITY_PROBLEM,
}
Context = grpc.aio.ServicerContext[Any, Any]


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """What a coordinator tells of itself and its cluster."""

    def __init__(self, hub: Hub, cluster: Cluster) -> None:
        self._hub = hub
        self._cluster = cluster
        self._stores = hub.stores

    async def Diagnose(  # noqa: N802  the rpc's name
        self, request: admin_pb2.DiagnoseRequest, context: Context
    ) -> admin_pb2.DiagnoseResponse:
        """Also while the store is away."""
        try:
            facts = await self._facts(request.namespace or ids.DEFAULT_NAMESPACE)
        except StoreError as error:
            await refuse_store(context, error)
        return admin_pb2.DiagnoseResponse(
            coordinator_id=self._hub.coordinator_id,
            cluster_id=self._stores.cluster_id,
            version=version("aiki-server"),
            store_time_ms=self._stores.clock.now_ms(),
            findings=[
                admin_pb2.Finding(
                    severity=SEVERITIES[finding.severity],
                    subject=finding.subject,
                    message=finding.message,
                    advice=finding.advice,
                )
                for finding in findings_of(facts)
            ],
        )

    async def ShowCluster(  # noqa: N802  the rpc's name
        self, request: admin_pb2.ShowClusterRequest, context: Context
    ) -> admin_pb2.ShowClusterResponse:
        """All coordinators, whichever is asked."""
        try:
            return await self._cluster.show(request.namespace)
        except StoreError as error:
            await refuse_store(context, error)

    async def ListQueues(  # noqa: N802  the rpc's name
        self, request: admin_pb2.ListQueuesRequest, context: Context
    ) -> admin_pb2.ListQueuesResponse:
        """Every queue, and what waits for want of a worker."""
        try:
            return await list_queues(self._hub, request.namespace)
        except StoreError as error:
            await refuse_store(context, error)

    async def _facts(self, namespace: str) -> Facts:
        stores, health = self._stores, self._stores.health
        problems, seen = health.problems, None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                seen = await self._look(namespace)
        except TimeoutError:
            problems = problems or [f"It has not answered for {PATIENCE_SECONDS:g} s."]
        return Facts(
            store_problems=problems,
            is_nearly_full=health.is_nearly_full,
            is_draining=self._hub.draining.is_set(),
            clock_ahead_ms=time.time() * 1000 - stores.clock.now_ms(),
            seen=seen,
        )

    async def _look(self, namespace: str) -> Seen:
        stores = self._stores
        now_ms = stores.clock.now_ms()
        due = await asyncio.gather(
            *(stores.sweep.next_due(partition=number) for number in range(stores.partitions))
        )
        return Seen(
            coordinators=_alive(await stores.sessions.coordinators(), now_ms),
            sessions=_alive(await stores.sessions.snapshot(), now_ms),
            served=len(await stores.sessions.served(namespace=namespace)),
            stalled=await stores.listing.count_stalled(namespace=namespace),
            late_ms=max((now_ms - at_ms for at_ms in due if at_ms is not None and at_ms < now_ms), default=0),
        )


def _alive(known: dict[str, int], now_ms: int) -> int:
    return sum(until_ms > now_ms for until_ms in known.values())
