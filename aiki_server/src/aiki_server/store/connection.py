"""One connection to the store: bytes out, replies in, in order.

hiredis packs and parses; redis-py is not on this path, because its connection awaits each reply and retries
by itself. Invariant: replies are handed over in the order of the commands, and after `closed` is done
nothing more is handed over.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from aiki_server.store.address import Address
from aiki_server.store.errors import StoreError, StoreUnavailableError, StoreUnsafeError, error_of

# A reply as hiredis gives it: None, int, bytes, an error, or a list of replies. Decoders give it its type.
Reply = Any
Argument = str | bytes | int

CONNECT_SECONDS: Final = 5.0
REPLY_SECONDS: Final = 10.0


class Connection(asyncio.Protocol):
    """An open connection. `on_reply` gets each reply; an error reply is a `hiredis.ReplyError`."""

    def __init__(self, on_reply: Callable[[Reply], None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_reply = on_reply
        self._reader = hiredis.Reader(notEnoughData=self)
        self._transport: asyncio.Transport | None = None
        self._ended_by: Exception | None = None

    def send(self, data: bytes) -> None:
        """Send packed commands; nothing happens when the connection is lost (see `closed`)."""
        if self._transport is not None and not self.closed.done():
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not self:
                self._on_reply(reply)
        except hiredis.ProtocolError as error:
            self._ended_by = error
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended_by = self._ended_by or exc
        self._end()

    def why_lost(self, address: Address) -> StoreError:
        """What to tell of a connection that ended before it was of use."""
        match self._ended_by:
            case ssl.SSLError() as error:
                return _tls_refused(address, error)
            case hiredis.ProtocolError():
                reason = f"What answers at {address} does not speak Redis' protocol: is it a port for TLS (rediss://)?"
                return StoreUnsafeError([reason])
            case _:
                hint = (
                    "" if address.tls or address.path else " (if this is its port for TLS, write rediss://)"
                )
                return StoreUnavailableError(f"the store at {address} has ended the connection{hint}")

    def _end(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class Caller:
    """One command at a time over a connection of its own: for the handshake and for blocking reads."""

    def __init__(self) -> None:
        self.connection = Connection(self._replied)
        self._answer: asyncio.Future[Reply] | None = None

    async def call(self, *command: Argument, wait_seconds: float = REPLY_SECONDS) -> Reply:
        """Send a command and await its reply.

        Raises:
            StoreError: the connection was lost, nothing came in time, or the reply is an error.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self.connection.send(pack(command))
        done, _ = await asyncio.wait(
            {self._answer, self.connection.closed},
            timeout=wait_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._answer not in done:
            self.connection.abort()
            raise StoreUnavailableError("the store did not answer, or the connection to it was lost")
        reply = self._answer.result()
        if isinstance(reply, hiredis.ReplyError):
            raise error_of(str(reply))
        return reply

    def _replied(self, reply: Reply) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)


async def connect(address: Address, make: Callable[[], Connection]) -> Connection:
    """Open a connection, authenticate and choose the database.

    Raises:
        StoreUnavailableError: not reachable now.
        StoreUnsafeError: the credentials are wrong.
    """
    loop = asyncio.get_running_loop()
    holder: list[Connection] = []

    def factory() -> Connection:
        holder.append(make())
        return holder[0]

    context = address.context()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.path:
                await loop.create_unix_connection(factory, address.path)
            else:
                await loop.create_connection(factory, address.host, address.port, ssl=context)
    except ssl.SSLError as error:
        raise _tls_refused(address, error) from error
    except (OSError, TimeoutError) as error:
        hint = ": does it speak TLS?" if address.tls else ""
        reason = str(error) or f"it did not answer within {CONNECT_SECONDS:g} s{hint}"
        raise StoreUnavailableError(f"the store at {address} cannot be reached: {reason}") from error
    return holder[0]


def handshake(address: Address) -> list[tuple[Argument, ...]]:
    """The commands that every new connection begins with."""
    commands: list[tuple[Argument, ...]] = []
    if address.password:
        user = (address.username,) if address.username else ()
        commands.append(("AUTH", *user, address.password))
    if address.database:
        commands.append(("SELECT", address.database))
    return commands


async def connect_caller(address: Address) -> Caller:
    """A `Caller`, ready for use.

    Raises:
        StoreUnavailableError: not reachable now.
        StoreUnsafeError: the credentials are wrong.
    """
    caller = Caller()
    await connect(address, lambda: caller.connection)
    try:
        for command in handshake(address):
            await caller.call(*command)
    except BaseException:
        caller.connection.abort()
        raise
    return caller


def _tls_refused(address: Address, error: ssl.SSLError) -> StoreUnsafeError:
    """It does not pass by itself."""
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = (
            f"shows a certificate that is not trusted ({error.verify_message}): name its CA with ?ca=PATH"
        )
    elif "CERTIFICATE" in reason or "ALERT" in reason:
        detail = f"refuses our certificate ({reason}): name one with ?cert=PATH&key=PATH"
    elif reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        detail = "does not speak TLS: write redis://, or give its port for TLS"
    else:
        detail = f"cannot be spoken to by TLS ({reason})"
    return StoreUnsafeError([f"The store at {address} {detail}."])


# hiredis types the argument as a tuple of one.
pack = cast("Callable[[tuple[Argument, ...]], bytes]", getattr(hiredis, "pack_command"))  # noqa: B009  untyped
