"""What load balancers and probes are told by gRPC's health service."""

from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from aiki_server.store import Stores
from tests.protocol.peer import Door, a_cluster
from tests.support.waiting import eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
READY = ("", "readiness", "aiki.v1.WorkerService", "aiki.v1.WorkflowService")


async def statuses(door: Door, *services: str) -> set[int]:
    stub: Any = health_pb2_grpc.HealthStub(door.channel)  # Its stubs know the blocking one only.
    return {(await stub.Check(health_pb2.HealthCheckRequest(service=service))).status for service in services}


async def until(door: Door, wanted: int) -> None:
    async def holds() -> bool:
        return await statuses(door, *READY) == {wanted}

    await eventually(holds, f"health {wanted}")


async def test_readiness_follows_the_store_and_liveness_does_not(store: Stores) -> None:
    """An unsafe store takes a coordinator out of service; it comes back by itself, and is never restarted for it."""
    async with a_cluster(store) as cluster:
        door = await cluster.coordinator()
        assert await statuses(door, *READY, "liveness") == {SERVING}

        store.health.unsafe = ["The store evicts keys when it is full."]

        await until(door, NOT_SERVING)
        assert await statuses(door, "liveness") == {SERVING}

        store.health.unsafe = []

        await until(door, SERVING)
