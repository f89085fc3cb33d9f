"""Finds the primary that Sentinel names, and notices when that is another one."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiki_server.store.connection import connect_caller
from aiki_server.store.errors import StoreError, StoreUnavailableError, StoreUnsafeError

if TYPE_CHECKING:
    from aiki_server.store.address import Address, Target
    from aiki_server.store.connection import Caller
    from aiki_server.store.flusher import Flusher

LOOK_SECONDS: Final = 1.0
ASK_SECONDS: Final = 2.0


class Sentinels:
    """Asks them in turn, the last one that answered first."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._addresses = list(target.addresses)

    async def find(self) -> Address:
        """Where the primary is.

        Raises:
            StoreUnavailableError: no sentinel answers.
            StoreUnsafeError: those that answer know no such master.
        """
        unknown: StoreUnsafeError | None = None
        silent: list[str] = []
        for address in list(self._addresses):
            try:
                found = await self._ask(address)
            except StoreUnsafeError as error:
                unknown = error
            except StoreError as error:
                silent.append(str(error))
            else:
                self._addresses.remove(address)
                self._addresses.insert(0, address)
                return found
        if unknown is not None:
            raise unknown
        raise StoreUnavailableError(f"no sentinel of {self._target} answers: {'; '.join(silent)}")

    async def follow(self, flusher: Flusher) -> None:
        """Leave a node that Sentinel has replaced, though it may still answer; until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not flusher.connected.is_set():
                continue
            with contextlib.suppress(StoreError):
                if await self.find() != flusher.address:
                    flusher.disconnect()

    async def _ask(self, address: Address) -> Address:
        caller = await self._connect(address)
        try:
            name = self._target.master
            reply = await caller.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, wait_seconds=ASK_SECONDS)
        finally:
            caller.connection.abort()
        if reply is None:
            raise StoreUnsafeError([f"The sentinel at {address} watches no master {name!r}: check its name."])
        return address.at(reply[0].decode(), int(reply[1]))

    async def _connect(self, address: Address) -> Caller:
        """Sentinels may have no password, whatever the store has."""
        caller = await connect_caller(replace(address, username="", password=""))
        try:
            await caller.call("PING", wait_seconds=ASK_SECONDS)
        except StoreUnsafeError:
            caller.connection.abort()
            return await connect_caller(address)
        except BaseException:
            caller.connection.abort()
            raise
        return caller
