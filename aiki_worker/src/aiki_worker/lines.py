"""Lines to coordinators: found, opened, and kept while the next one is being made.

Invariant: a coordinator that wants to go is left only for one that serves; until then its stream is used.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio

from aiki_client.channels import Tls, open_channel
from aiki_client.connection import reason_of
from aiki_client.coordinators import Coordinators
from aiki_client.errors import CoordinatorUnavailableError

RETRY_SECONDS_FIRST: Final = 0.05
RETRY_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 0.2
"""How long to wait after a round in which nobody else served."""
ANSWER_SECONDS: Final = 2.0
# The standard health service, asked without generated code: whether aiki.v1.WorkerService is SERVING.
HEALTH: Final = "/grpc.health.v1.Health/Check"
QUESTION: Final = b"\n\x15aiki.v1.WorkerService"
NO_HEALTH: Final = frozenset({grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND})
"""Somebody is there who does not say whether it takes workers: Hello will tell."""
SERVING: Final = b"\x08\x01"
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Else a channel inherits the backoff of the one before it.
    ("grpc.use_local_subchannel_pool", 1),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """A channel to one coordinator."""

    address: str
    channel: grpc.aio.Channel

    async def close(self) -> None:
        """Give it up, with whatever goes over it."""
        await self.channel.close()


class Lines:
    """`patience_s` is how long a worker that was never welcomed looks for a coordinator; None: for ever."""

    def __init__(
        self, coordinators: Coordinators, patience_s: float | None = None, tls: Tls | None = None
    ) -> None:
        self._tls = tls
        self._coordinators = coordinators
        self._patience_s = patience_s
        self._began = time.monotonic()
        self._was_welcomed = False
        self._next: Line | None = None

    async def following(self) -> Line | None:
        """The line to try next: the one that was made meanwhile, if any; None when nobody is known now."""
        line, self._next = self._next, None
        if line is not None:
            return line
        address = await self._coordinators.following()
        return None if address is None else self._line(address)

    def welcomed(self) -> None:
        """Somebody has welcomed the worker: from now on it looks for ever."""
        self._was_welcomed = True

    def failed(self, address: str, reason: str) -> None:
        """It does not answer."""
        self._coordinators.failed(address, reason)

    @property
    def end_of_patience(self) -> CoordinatorUnavailableError | None:
        """Names each address and why it did not answer, once it is no use to look on."""
        if self._was_welcomed or self._patience_s is None:
            return None
        if time.monotonic() - self._began < self._patience_s:
            return None
        return CoordinatorUnavailableError(self._coordinators.reasons)

    def _line(self, address: str) -> Line:
        tls = self._coordinators.tls_for(address, self._tls)
        return Line(address, open_channel(address, tls, CHANNEL_OPTIONS))

    async def make_next(self) -> str:
        """Go round until a coordinator serves; `following` gives the line to it. Its address."""
        self._coordinators.begin_again()
        while True:
            tried: set[str] = set()
            while (address := await self._coordinators.following()) is not None and address not in tried:
                tried.add(address)
                line = self._line(address)
                if await _serves(line):
                    self._next = line
                    return address
                await line.close()
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1))


def retry_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row: doubled each time, with jitter, so that many spread."""
    longest = min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1)


async def _serves(line: Line) -> bool:
    """Whether the coordinator there takes workers; one that drains says no, or nothing."""
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary(HEALTH)
    try:
        answer = await ask(QUESTION, timeout=ANSWER_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() in NO_HEALTH:
            return True
        log.debug("coordinator %s does not serve: %s", line.address, reason_of(error))
        return False
    return answer == SERVING
