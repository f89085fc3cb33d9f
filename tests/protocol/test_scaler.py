"""What KEDA is told, asked by a client made from the same definition that KEDA's is made from."""

import asyncio
from typing import Any

import grpc
import pytest

from aiki.keda import externalscaler_pb2 as keda, externalscaler_pb2_grpc
from aiki_server.store import Stores
from tests.protocol.peer import WAIT_SECONDS, Door, Worker, a_cluster, a_coordinator, ended
from tests.support.waiting import eventually


def trigger(**metadata: str) -> keda.ScaledObjectRef:
    """As a ScaledObject of Kubernetes names it."""
    return keda.ScaledObjectRef(name="workers", namespace="production", scalerMetadata=metadata)


class Keda:
    """One coordinator, asked."""

    def __init__(self, door: Door) -> None:
        self.stub: Any = externalscaler_pb2_grpc.ExternalScalerStub(door.channel)

    async def load(self, metric: str = "s0-aiki-default-default", **metadata: str) -> float:
        request = keda.GetMetricsRequest(scaledObjectRef=trigger(**metadata), metricName=metric)
        (value,) = (await self.stub.GetMetrics(request)).metricValues
        assert value.metricName == metric
        assert value.metricValue == value.metricValueFloat
        return float(value.metricValueFloat)

    async def is_active(self, **metadata: str) -> bool:
        return bool((await self.stub.IsActive(trigger(**metadata))).result)

    async def becomes(self, load: float) -> None:
        async def holds() -> bool:
            return await self.load() == load

        await eventually(holds, f"a load of {load}")


async def test_work_counts_until_it_is_over(store: Stores) -> None:
    """Nobody serves the queue: there is something to scale up for. In flight it counts still, so nothing running is scaled in."""
    async with a_coordinator(store) as door:
        scaler = Keda(door)
        assert (await scaler.load(), await scaler.is_active()) == (0, False)

        for _ in range(3):
            await door.start()
        await scaler.becomes(3)
        assert await scaler.is_active()
        assert await scaler.load(queue="other") == 0
        assert not await scaler.is_active(namespace="other")

        async with Worker(door) as worker:
            await worker.credit(runs=2)
            leases = [(await worker.granted()).lease for _ in range(2)]
            await scaler.becomes(3)
            await worker.commit(leases[0], 1, ended())
            await scaler.becomes(2)


async def test_any_coordinator_tells_of_the_whole_cluster(store: Stores) -> None:
    """Work that a worker of another coordinator holds counts as well."""
    async with a_cluster(store) as cluster:
        one, other = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(one) as worker:
            await worker.credit(runs=1)
            await one.start()
            lease = (await worker.granted()).lease

            await Keda(other).becomes(1)
            await worker.commit(lease, 1, ended())
            await Keda(other).becomes(0)


async def test_a_change_is_pushed(store: Stores) -> None:
    """So that scaling from zero does not wait for a poll."""
    async with a_coordinator(store) as door, asyncio.timeout(WAIT_SECONDS):
        told = Keda(door).stub.StreamIsActive(trigger())
        assert not (await told.read()).result

        await door.start()
        assert (await told.read()).result

        async with Worker(door) as worker:
            await worker.credit(runs=1)
            await worker.commit((await worker.granted()).lease, 1, ended())
            assert not (await told.read()).result
        told.cancel()


async def test_the_target_is_what_one_worker_takes(store: Stores) -> None:
    """As the trigger says; a trigger that makes no sense is refused with its name."""
    async with a_coordinator(store) as door:
        stub = Keda(door).stub
        (spec,) = (await stub.GetMetricSpec(trigger(queue="reports", target="2.5"))).metricSpecs
        assert (spec.metricName, spec.targetSizeFloat, spec.targetSize) == ("aiki-default-reports", 2.5, 3)

        with pytest.raises(grpc.aio.AioRpcError, match=r"production/workers.*target") as refused:
            await stub.GetMetricSpec(trigger(target="none"))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
