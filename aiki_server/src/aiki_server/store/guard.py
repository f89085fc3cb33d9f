"""Is the store safe to keep acknowledged work in? Checked at start and every 30 s.

`problems_of` decides from plain facts; `Guard` asks the store for them. A store that is not safe is refused
with a sentence for each reason, unless the operator allows it in so many words.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiki_server.store import keys, replies
from aiki_server.store.errors import StoreScriptError, StoreUnsafeError
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from aiki_server.store.flusher import Flusher

SCHEMA: Final = "1"
REDIS_MIN: Final = (7, 0)
VALKEY_MIN: Final = (7, 2)
FULL_RATIO: Final = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a store says of itself. `appendfsync` is None when it does not tell."""

    server: str
    version: tuple[int, ...]
    role: str
    policy: str
    append_only: bool
    appendfsync: str | None
    cluster: bool = False


def problems_of(facts: Facts, durability: str) -> list[str]:
    """A sentence for each way in which this store could lose acknowledged work."""
    problems: list[str] = []
    oldest = VALKEY_MIN if facts.server == "Valkey" else REDIS_MIN
    if facts.version < oldest:
        problems.append(
            f"The store is {facts.server} {_dotted(facts.version)}: Aiki needs Redis {_dotted(REDIS_MIN)} or "
            f"Valkey {_dotted(VALKEY_MIN)}, or newer."
        )
    if facts.cluster:
        problems.append("The store is a Redis Cluster, which this version cannot use: give it a single node.")
    if facts.role != "master":
        problems.append(f"The store is a {facts.role}, not a primary: give the primary's address.")
    if facts.policy != "noeviction":
        problems.append(
            f"The store evicts keys when it is full (maxmemory-policy {facts.policy}): set it to noeviction."
        )
    if not facts.append_only:
        problems.append("The store has no append-only file, so a restart loses work: set appendonly yes.")
    elif durability == "fsync" and facts.appendfsync != "always":
        now = facts.appendfsync or "not known, because CONFIG GET is refused"
        problems.append(
            f"The store acknowledges writes before they are on disk (appendfsync is {now}): "
            "set appendfsync always, or choose durability local."
        )
    return problems


class Guard:
    """Remembers whose store it was: one that becomes another's, or empty, is refused."""

    def __init__(self, flusher: Flusher, *, partitions: int, durability: str) -> None:
        self._flusher = flusher
        self._partitions = partitions
        self._durability = durability
        self.cluster_id = ""

    async def check(self) -> list[str]:
        """A sentence for each problem; none when the store is safe.

        Raises:
            StoreError: the store does not answer, or refuses the questions.
        """
        return problems_of(await self._facts(), self._durability)

    async def is_nearly_full(self) -> bool:
        """Whether it uses more than FULL_RATIO of its maxmemory, if it has one.

        Raises:
            StoreError: the store does not answer.
        """
        text: bytes = await self._flusher.submit(("INFO", "memory"), replies.as_it_is)
        info = _facts_of(text)
        return int(info["used_memory"]) > FULL_RATIO * (int(info["maxmemory"]) or math.inf)

    async def claim(self) -> None:
        """Make sure that the store is this cluster's; a new one becomes it.

        Raises:
            StoreUnsafeError: it is another's, or has lost what it was. No option allows that.
        """
        command = script("meta").command(
            (keys.META, keys.COORDINATORS, keys.HANDLERS),
            (SCHEMA, self._partitions, secrets.token_hex(8), "1" if self.cluster_id else ""),
        )
        reply = await self._flusher.submit(command, replies.as_it_is)
        if reply is None:
            raise StoreUnsafeError(
                ["The store was in use and is empty now: restore its data, or use another one."]
            )
        schema, partitions, cluster_id = (part.decode() for part in reply)
        if schema != SCHEMA:
            raise StoreUnsafeError(
                [f"The store's data has schema {schema}, and this version of Aiki reads schema {SCHEMA}."]
            )
        if int(partitions) != self._partitions:
            raise StoreUnsafeError(
                [
                    f"The store has {partitions} partitions, not {self._partitions}: that is fixed when it is first used."
                ]
            )
        if self.cluster_id and cluster_id != self.cluster_id:
            raise StoreUnsafeError(["The store belongs to another cluster now: check its address."])
        self.cluster_id = cluster_id

    async def _facts(self) -> Facts:
        text: bytes = await self._flusher.submit(("INFO",), replies.as_it_is)
        info = _facts_of(text)
        is_valkey = "valkey_version" in info
        return Facts(
            server="Valkey" if is_valkey else "Redis",
            version=_version(info["valkey_version"] if is_valkey else info["redis_version"]),
            role=info["role"],
            policy=info["maxmemory_policy"],
            append_only=info["aof_enabled"] == "1",
            appendfsync=await self._appendfsync(),
            cluster=info.get("cluster_enabled") == "1",
        )

    async def _appendfsync(self) -> str | None:
        try:
            reply = await self._flusher.submit(("CONFIG", "GET", "appendfsync"), replies.as_it_is)
        except (StoreScriptError, StoreUnsafeError):
            return None
        return reply[1].decode() if reply else None


def _facts_of(text: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
