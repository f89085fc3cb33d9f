"""Hash slots of a Cluster: which slot a key is in, and which key a command is about."""

from __future__ import annotations

from binascii import crc_hqx
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiki_server.store.connection import Argument

SLOTS: Final = 16_384
NO_SLOT: Final = -1
"""Of a command without keys: any node does."""

_KEYLESS: Final = frozenset({"TIME", "INFO", "CONFIG", "CLIENT", "ROLE", "PING", "KEYS", "SCRIPT", "CLUSTER"})
_KEY_AT: Final = {"EVALSHA": 3, "XGROUP": 2, "XINFO": 2}


def slot_of_key(key: str) -> int:
    """By what stands in the first braces, if anything does."""
    start = key.find("{")
    if start >= 0:
        end = key.find("}", start + 1)
        if end > start + 1:
            return _slot(key[start + 1 : end])
    return _slot(key)


def slot_of_command(command: tuple[Argument, ...]) -> int:
    """Where all its keys are."""
    name = str(command[0])
    if name in _KEYLESS:
        return NO_SLOT
    return slot_of_key(str(command[_KEY_AT.get(name, 1)]))


@lru_cache(maxsize=65_536)
def _slot(text: str) -> int:
    return crc_hqx(text.encode(), 0) % SLOTS
