"""What a worker and its children say to each other, and how it goes over a pipe.

A frame is two lengths, a JSON header and the payloads, which stay the bytes they are. Nothing is pickled: what
either side reads cannot run code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final, cast

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload

LENGTHS: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """To a new child: what it serves. `main_path` is the program's own file, if tasks stand in it."""

    modules: list[str]
    main_path: str | None
    path: list[str]
    log_level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """To a child: run an attempt; `number` names it, and its span is that of the traceparent, if it has one."""

    number: int
    task: str
    input: Payload
    checkpoint: Payload | None
    run_id: str
    workflow_id: str
    address: str
    attempt: int
    deadline_ms: int | None
    completion_token: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """To a child: nobody wants this attempt any more."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """To a child: close what is open, and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From a child: it takes orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """From a child: it will never take orders, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """From a child: the attempt is alive."""

    number: int
    checkpoint: Payload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """From a child: a log record, as JSON."""

    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gave:
    """From a child: the attempt gave a result."""

    number: int
    output: Payload
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Broke:
    """From a child: the attempt failed. `types` are the exception's type and its bases, as MODULE:NAME."""

    number: int
    failure: FailureInfo
    types: list[str]
    retry_after_s: float | None
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """From a child: the attempt's outcome is given elsewhere."""

    number: int
    duration_ms: int


Frame = Setup | Order | Stop | Leave | Ready | Unfit | Beat | Logged | Gave | Broke | PutOff
_KINDS: Final[dict[str, type[Frame]]] = {
    kind.__name__: kind
    for kind in (Setup, Order, Stop, Leave, Ready, Unfit, Beat, Logged, Gave, Broke, PutOff)
}


def pack(frame: Frame) -> bytes:
    """The bytes of a frame."""
    blobs: list[bytes] = []
    values = {field.name: _plain(getattr(frame, field.name), blobs) for field in fields(frame)}
    header = json.dumps([type(frame).__name__, values, [len(blob) for blob in blobs]]).encode()
    body = header + b"".join(blobs)
    return LENGTHS.pack(len(header), len(body)) + body


def unpack(header: bytes, blobs: bytes) -> Frame:
    """The frame that these bytes, without the lengths, are."""
    name, values, lengths = cast("tuple[str, dict[str, Any], list[int]]", json.loads(header))
    parts: list[bytes] = []
    begin = 0
    for length in lengths:
        parts.append(blobs[begin : begin + length])
        begin += length
    return _KINDS[name](**{key: _restored(value, parts) for key, value in values.items()})


class Splitter:
    """Cuts what comes through a pipe into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= LENGTHS.size:
            header, body = LENGTHS.unpack_from(buffer)
            end = LENGTHS.size + body
            if len(buffer) < end:
                return
            middle = LENGTHS.size + header
            frame = unpack(bytes(buffer[LENGTHS.size : middle]), bytes(buffer[middle:end]))
            del buffer[:end]
            yield frame


def _plain(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, Payload):
        blobs.append(value.data)
        return {"payload": len(blobs) - 1, "encoding": value.encoding}
    if isinstance(value, FailureInfo):
        return {"failure": {item.name: _plain(getattr(value, item.name), blobs) for item in fields(value)}}
    return value


def _restored(value: Any, parts: list[bytes]) -> Any:
    match value:
        case {"payload": int(index), "encoding": str(encoding)}:
            return Payload(parts[index], encoding)
        case {"failure": dict()}:
            told = cast("dict[str, Any]", value["failure"])
            return FailureInfo(**{name: _restored(item, parts) for name, item in told.items()})
        case _:
            return value
