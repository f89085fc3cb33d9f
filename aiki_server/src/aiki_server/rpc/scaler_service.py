"""KEDA's external scaler: how much a queue has to do, told to whoever decides how many workers there are.

Any coordinator can be asked: the figures are those of the cluster.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc

from aiki.keda import externalscaler_pb2, externalscaler_pb2_grpc
from aiki_server.core.scaling import Trigger, TriggerError
from aiki_server.rpc.status import refuse, refuse_store
from aiki_server.store.errors import StoreError

LOOK_SECONDS: Final = 1.0
Context = grpc.aio.ServicerContext[Any, Any]
Load = Callable[[str, str], Awaitable[int]]
"""Namespace and queue → what waits and what is under way there."""


class ScalerService(externalscaler_pb2_grpc.ExternalScalerServicer):
    """A queue is active while it has anything to do."""

    def __init__(self, load: Load, draining: asyncio.Event) -> None:
        self._load = load
        self._draining = draining

    async def IsActive(  # noqa: N802  the rpc's name
        self, request: externalscaler_pb2.ScaledObjectRef, context: Context
    ) -> externalscaler_pb2.IsActiveResponse:
        """Asked at each poll of KEDA."""
        trigger = await _trigger(request, context)
        return externalscaler_pb2.IsActiveResponse(result=await self._ask(trigger, context) > 0)

    async def StreamIsActive(  # noqa: N802  the rpc's name
        self, request: externalscaler_pb2.ScaledObjectRef, context: Context
    ) -> AsyncIterator[externalscaler_pb2.IsActiveResponse]:
        """Tells at once, and then at each change."""
        trigger = await _trigger(request, context)
        told: bool | None = None
        while not self._draining.is_set():
            is_active = await self._ask(trigger, context) > 0
            if is_active != told:
                told = is_active
                yield externalscaler_pb2.IsActiveResponse(result=is_active)
            await asyncio.sleep(LOOK_SECONDS)

    async def GetMetricSpec(  # noqa: N802  the rpc's name
        self, request: externalscaler_pb2.ScaledObjectRef, context: Context
    ) -> externalscaler_pb2.GetMetricSpecResponse:
        """One figure, and how much of it one worker takes."""
        trigger = await _trigger(request, context)
        spec = externalscaler_pb2.MetricSpec(
            metricName=trigger.metric, targetSize=math.ceil(trigger.target), targetSizeFloat=trigger.target
        )
        return externalscaler_pb2.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(  # noqa: N802  the rpc's name
        self, request: externalscaler_pb2.GetMetricsRequest, context: Context
    ) -> externalscaler_pb2.GetMetricsResponse:
        """The figure now, under the name it was asked by."""
        trigger = await _trigger(request.scaledObjectRef, context)
        load = await self._ask(trigger, context)
        value = externalscaler_pb2.MetricValue(
            metricName=request.metricName or trigger.metric, metricValue=load, metricValueFloat=load
        )
        return externalscaler_pb2.GetMetricsResponse(metricValues=[value])

    async def _ask(self, trigger: Trigger, context: Context) -> int:
        try:
            return await self._load(trigger.namespace, trigger.queue)
        except StoreError as error:
            await refuse_store(context, error)


async def _trigger(request: externalscaler_pb2.ScaledObjectRef, context: Context) -> Trigger:
    try:
        return Trigger.parse(request.scalerMetadata)
    except TriggerError as error:
        message = f"trigger of {request.namespace}/{request.name}: {error}"
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", message)
