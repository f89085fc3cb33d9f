"""Which coordinator is tried next: each once a round, whatever the names stand for by then."""

import asyncio
import socket
from typing import Any

import pytest

from aiki_client.coordinators import Coordinators


async def a_round(coordinators: Coordinators, count: int) -> set[str]:
    """The next *count* to be tried."""
    return {str(await coordinators.following()) for _ in range(count)}


async def test_each_is_tried_once_a_round() -> None:
    """And many who begin at the same time do not begin with the same."""
    addresses = [f"host-{number}:1" for number in range(4)]
    coordinators = Coordinators(addresses)

    for _ in range(3):
        assert await a_round(coordinators, 4) == set(addresses)
    assert len({await Coordinators(addresses).following() for _ in range(200)}) == 4


async def test_a_name_stands_for_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both kinds, and looked up again for each round."""
    records: list[tuple[str, ...]] = [("10.0.0.1", "10.0.0.2", "fd00::1"), ("10.0.0.3",)]

    async def look_up(host: str, port: int, **_: object) -> list[Any]:
        assert host == "aiki"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port)) for found in records.pop(0)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    coordinators = Coordinators(["dns:///aiki"])

    assert await a_round(coordinators, 3) == {"10.0.0.1:7700", "10.0.0.2:7700", "[fd00::1]:7700"}
    assert await a_round(coordinators, 1) == {"10.0.0.3:7700"}


async def test_a_name_that_stands_for_nobody() -> None:
    """There is nobody to try, and the reason is kept for the error."""
    coordinators = Coordinators(["dns:///no-such-host.invalid:1"])

    assert await coordinators.following() is None
    assert "no host of this name" in coordinators.reasons["dns:///no-such-host.invalid:1"]
