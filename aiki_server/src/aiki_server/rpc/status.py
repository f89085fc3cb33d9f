"""Errors on the wire: google.rpc.Status with an ErrorInfo of domain "aiki"."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from aiki_server.store.errors import (
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnsafeError,
)

DOMAIN = "aiki"
P = ParamSpec("P")
R = TypeVar("R")


def status(code: grpc.StatusCode, reason: str, message: str) -> status_pb2.Status:
    """A status that says why, for programs and for people."""
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    number: int = code.value[0]
    return status_pb2.Status(code=number, message=message, details=[info])


async def refuse_store(context: grpc.aio.ServicerContext[Any, Any], error: StoreError) -> NoReturn:
    """End the rpc, because the store could not do it."""
    match error:
        case StoreUnavailableError():
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", f"{error}: try again")
        case StoreFullError():
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", str(error))
        case StoreUnsafeError():
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNSAFE", str(error))
        case _:
            await refuse(context, grpc.StatusCode.INTERNAL, "INTERNAL", f"a bug in Aiki: {error}")


def answering(method: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A unary rpc that says in a status what is wrong with the store."""

    @functools.wraps(method)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except StoreError as error:
            # grpc calls with the service, the request and the context, by position.
            await refuse_store(cast("grpc.aio.ServicerContext[Any, Any]", args[2]), error)

    return answer


async def refuse(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, reason: str, message: str
) -> NoReturn:
    """End the rpc with this status."""
    detail = status(code, reason, message).SerializeToString()
    await context.abort(code, message, (("grpc-status-details-bin", detail),))
    raise AssertionError("abort returned")
