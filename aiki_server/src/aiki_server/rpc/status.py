"""Errors on the wire: google.rpc.Status with an ErrorInfo of domain "aiki"."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

DOMAIN = "aiki"


def status(code: grpc.StatusCode, reason: str, message: str) -> status_pb2.Status:
    """A status that says why, for programs and for people."""
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    number: int = code.value[0]
    return status_pb2.Status(code=number, message=message, details=[info])


async def refuse(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, reason: str, message: str
) -> NoReturn:
    """End the rpc with this status."""
    detail = status(code, reason, message).SerializeToString()
    await context.abort(code, message, (("grpc-status-details-bin", detail),))
    raise AssertionError("abort returned")
