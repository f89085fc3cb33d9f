"""Durability `replicated`: what the store answers counts only once replicas have it.

A flight of calls ends with a small write and WAIT, so that a whole batch is waited for at once. The write is there
because WAIT covers what its own connection has written, and an answer may tell of what another one wrote.
Invariant: an answer is given to its caller only after a WAIT that was sent after it has found enough replicas.
"""

from __future__ import annotations

from enum import Enum, auto, unique
from typing import TYPE_CHECKING, Final

import hiredis

from aiki_server.store.connection import pack
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from aiki_server.store.calls import Call
    from aiki_server.store.connection import Reply

WAIT_MS: Final = 1_000
PIECES: Final = 2
"""Replies to a fence: of its write, and of WAIT."""


@unique
class Standing(Enum):
    """What a reply to the fence says of what it holds back."""

    WAITING = auto()
    REPLICATED = auto()
    SHORT = auto()
    """Too few replicas have it yet: ask again."""
    UNKNOWN = auto()
    """The fence's own write was refused: send everything again."""


class Fence:
    """Of one node. `key` is any key that the node serves."""

    def __init__(self, replicas: int, key: str) -> None:
        self.replicas = replicas
        self.held: list[tuple[Call, Reply]] = []
        self.refusal = ""
        self.found = 0
        self._left = 0
        self.packed = b""
        self.place(key)

    def place(self, key: str) -> None:
        """The node serves this key (and not, perhaps, the one before)."""
        write = script("pulse").command((key,), ())
        self.packed = pack(write) + pack(("WAIT", self.replicas, WAIT_MS))

    def sent(self) -> None:
        """Two replies to it come after those of what was sent before."""
        self._left = PIECES
        self.refusal = ""

    def lost(self) -> list[Call]:
        """The connection is gone: what is held must be sent again."""
        calls = [call for call, _ in self.held]
        self.held.clear()
        self._left = 0
        return calls

    def heard(self, reply: Reply) -> Standing:
        """A reply to the fence itself."""
        self._left -= 1
        if isinstance(reply, hiredis.ReplyError):
            self.refusal = self.refusal or str(reply)
        if self._left:
            return Standing.WAITING
        if self.refusal:
            return Standing.UNKNOWN
        self.found = reply if isinstance(reply, int) else 0
        return Standing.REPLICATED if self.found >= self.replicas else Standing.SHORT
