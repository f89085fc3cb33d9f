"""Where the coordinators of a cluster are, and which one is tried next.

Invariant: each round goes over all of them once, in an order of its own, so that many who look for one at the
same time spread; names are looked up again at each round.
"""

import asyncio
import random
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aiki_client.channels import Tls
from aiki_client.errors import SettingsError

PORT: Final = 7700
DNS: Final = "dns:///"
"""Begins the name of a host that stands for one coordinator at each of its addresses."""
LOOKUP_SECONDS_MAX: Final = 5.0
ADDRESS: Final = re.compile(r"(dns:///)?(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?")


class Coordinators:
    """The coordinators that *addresses* name, and why each did not answer when it was last tried."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = parse_addresses(addresses)
        self.reasons: dict[str, str] = {}
        self._round: list[str] = []
        self._hosts: dict[str, str] = {}

    async def following(self) -> str | None:
        """The `host:port` to try next; None when none of the names stands for anybody now."""
        if not self._round:
            found = await asyncio.gather(*map(self._look_up, self.addresses))
            self._round = list(dict.fromkeys(address for group in found for address in group))
            random.shuffle(self._round)
        return self._round.pop() if self._round else None

    def begin_again(self) -> None:
        """The next one begins a round."""
        self._round.clear()

    def tls_for(self, address: str, tls: Tls | None) -> Tls | None:
        """Certificates name hosts: one that was looked up must have the name that was."""
        if tls is None or tls.server_name or address not in self._hosts:
            return tls
        return replace(tls, server_name=self._hosts[address])

    def failed(self, address: str, reason: str) -> None:
        """It does not answer."""
        self.reasons[address] = reason

    async def _look_up(self, address: str) -> Sequence[str]:
        if not address.startswith(DNS):
            self.reasons.setdefault(address, "not tried")
            return [address]
        host, _, port = address.removeprefix(DNS).rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOKUP_SECONDS_MAX):
                found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except TimeoutError:
            self.reasons[address] = "its name was not looked up in time"
            return []
        except OSError as error:
            self.reasons[address] = f"no host of this name is known ({error.strerror or error})"
            return []
        self.reasons.pop(address, None)
        addresses = [_joined(str(where[0]), int(where[1])) for *_, where in found]
        self._hosts |= dict.fromkeys(addresses, host.strip("[]"))
        for known in addresses:
            self.reasons.setdefault(known, "not tried")
        return addresses


def parse_addresses(addresses: Sequence[str]) -> tuple[str, ...]:
    """`host:port` or `dns:///name:port` each, a list being written with commas; the port is 7700 when left out.

    Raises:
        SettingsError: an address is none, or there is none.
    """
    parts = [part.strip() for address in addresses for part in address.split(",")]
    parsed = tuple(_with_port(part) for part in parts if part)
    if not parsed:
        raise SettingsError("no address of a coordinator: name one as host:port, such as localhost:7700")
    return tuple(dict.fromkeys(parsed))


def _with_port(address: str) -> str:
    found = ADDRESS.fullmatch(address)
    port = int(found[3] or PORT) if found else 0
    if found is None or not 0 < port < 2**16:
        raise SettingsError(
            f"{address!r} is no address of a coordinator: write host:port, such as localhost:7700, or "
            "dns:///name:port for all hosts that the name stands for"
        )
    return f"{found[1] or ''}{found[2]}:{port}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
