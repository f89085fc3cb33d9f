"""One connection to the store: bytes out, replies in, in order.

hiredis packs and parses; redis-py is not on this path, because its connection awaits each reply and retries
by itself. Invariant: replies are handed over in the order of the commands, and after `closed` is done
nothing more is handed over.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from aiki_server.store.errors import StoreUnavailableError, error_of

# A reply as hiredis gives it: None, int, bytes, an error, or a list of replies. Decoders give it its type.
Reply = Any
Argument = str | bytes | int

CONNECT_SECONDS: Final = 5.0
REPLY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the store is, as a URL says."""

    path: str = ""
    host: str = "localhost"
    port: int = 6379
    tls: bool = False
    username: str = ""
    password: str = ""
    database: int = 0

    @classmethod
    def parse(cls, url: str) -> Address:
        """From redis://, rediss:// or unix:///PATH.

        Raises:
            ValueError: the URL is none of these.
        """
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme in {"unix", "redis+unix"}:
            database = int(parse_qs(parts.query).get("db", ["0"])[0])
            return cls(path=unquote(parts.path), username=user, password=password, database=database)
        if parts.scheme not in {"redis", "rediss", "valkey", "valkeys"}:
            raise ValueError(f"the store's address is redis://, rediss:// or unix:///PATH, not {url!r}")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 6379,
            tls=parts.scheme in {"rediss", "valkeys"},
            username=user,
            password=password,
            database=int(parts.path.strip("/") or 0),
        )

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class Connection(asyncio.Protocol):
    """An open connection. `on_reply` gets each reply; an error reply is a `hiredis.ReplyError`."""

    def __init__(self, on_reply: Callable[[Reply], None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_reply = on_reply
        self._reader = hiredis.Reader(notEnoughData=self)
        self._transport: asyncio.Transport | None = None

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
        except hiredis.ProtocolError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._end()

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

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.path:
                await loop.create_unix_connection(factory, address.path)
            else:
                context = ssl.create_default_context() if address.tls else None
                await loop.create_connection(factory, address.host, address.port, ssl=context)
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"it did not answer within {CONNECT_SECONDS:g} s"
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
    for command in handshake(address):
        await caller.call(*command)
    return caller


# hiredis types the argument as a tuple of one.
pack = cast("Callable[[tuple[Argument, ...]], bytes]", getattr(hiredis, "pack_command"))  # noqa: B009  untyped
