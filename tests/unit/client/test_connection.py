"""Addresses are read strictly; silence becomes one sentence."""

import asyncio
import socket
from datetime import timedelta

import pytest

from aiki_client import connection
from aiki_client.client import Client
from aiki_client.coordinators import parse_addresses
from aiki_client.errors import CoordinatorUnavailableError, SettingsError


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["localhost:7700"], ("localhost:7700",)),
        (["localhost"], ("localhost:7700",)),
        (["a:1, b:2", "c"], ("a:1", "b:2", "c:7700")),
        (["[::1]:80"], ("[::1]:80",)),
        (["a:1", "a:1"], ("a:1",)),
    ],
)
def test_addresses(given: list[str], parsed: tuple[str, ...]) -> None:
    """Several with commas, the port may be left out, repeats are dropped."""
    assert parse_addresses(given) == parsed


@pytest.mark.parametrize("given", ["", ",", "a:0", "a:99999", "a:b", "http://a:1", "a b", ":1"])
def test_wrong_addresses_are_refused(given: str) -> None:
    """Anything else is an error that shows how it is written."""
    with pytest.raises(SettingsError, match="localhost:7700"):
        parse_addresses([given])


async def test_unreachable_names_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address with its reason, and what to do."""
    monkeypatch.setattr(connection, "CONNECT_PATIENCE", timedelta(seconds=0.3))
    first, second = _unused_port(), _unused_port()

    with pytest.raises(CoordinatorUnavailableError, match="aiki dev") as refused:
        async with Client.connect(f"127.0.0.1:{first}", f"127.0.0.1:{second}"):
            raise AssertionError("nobody listens there")

    assert refused.value.reasons == {
        f"127.0.0.1:{first}": "Connection refused",
        f"127.0.0.1:{second}": "Connection refused",
    }


async def test_silence_is_told_apart_from_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who listens and says nothing is no coordinator either."""
    monkeypatch.setattr(connection, "CONNECT_PATIENCE", timedelta(seconds=0.3))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        with pytest.raises(CoordinatorUnavailableError) as refused:
            async with Client.connect(address):
                raise AssertionError("nobody answers there")

    assert refused.value.reasons.keys() == {address}


async def test_a_host_that_is_no_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web server, or a name that nobody has: said in words, not in gRPC's."""
    monkeypatch.setattr(connection, "CONNECT_PATIENCE", timedelta(seconds=1))

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as web:
        address = f"127.0.0.1:{web.sockets[0].getsockname()[1]}"
        with pytest.raises(CoordinatorUnavailableError) as refused:
            async with Client.connect(address):
                raise AssertionError("it speaks another language")
    assert refused.value.reasons == {address: "what listens there is no coordinator"}

    with pytest.raises(CoordinatorUnavailableError) as unknown:
        async with Client.connect("no-such-host.invalid:1"):
            raise AssertionError("there is no such host")
    assert unknown.value.reasons == {"no-such-host.invalid:1": "no host of this name is known"}


async def test_a_client_that_was_not_entered_says_so() -> None:
    """A forgotten `async with` is a bug with a name."""
    with pytest.raises(RuntimeError, match="async with"):
        await Client.connect("localhost").run("order-1")


def _unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
