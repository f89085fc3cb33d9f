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
    from aiki_server.store.calls import Router
    from aiki_server.store.flusher import Flusher

SCHEMA: Final = "1"
REDIS_MIN: Final = (7, 0)
VALKEY_MIN: Final = (7, 2)
FULL_RATIO: Final = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a store says of itself. What is None it does not tell.

    `replicas` are connected now; without `replicas_min` of them it takes no writes.
    """

    server: str
    version: tuple[int, ...]
    role: str
    policy: str
    append_only: bool
    appendfsync: str | None
    cluster: bool = False
    replicas: int = 0
    replicas_min: int | None = None


def problems_of(facts: Facts, durability: str, replicas: int = 1) -> list[str]:
    """A sentence for each way in which this store could lose acknowledged work.

    `replicas` is how many are to have it, with durability "replicated".
    """
    problems: list[str] = []
    oldest = VALKEY_MIN if facts.server == "Valkey" else REDIS_MIN
    if facts.version < oldest:
        problems.append(
            f"The store is {facts.server} {_dotted(facts.version)}: Aiki needs Redis {_dotted(REDIS_MIN)} or "
            f"Valkey {_dotted(VALKEY_MIN)}, or newer."
        )
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
    if durability == "replicated":
        problems += _too_few(facts, replicas)
    return problems


def _too_few(facts: Facts, replicas: int) -> list[str]:
    problems: list[str] = []
    if facts.replicas < replicas:
        problems.append(
            f"The store has {facts.replicas} replicas, and durability replicated waits for {replicas}: start them."
        )
    if facts.replicas_min is None or facts.replicas_min < replicas:
        now = "not known" if facts.replicas_min is None else facts.replicas_min
        problems.append(
            f"A primary that was cut off would go on taking writes (min-replicas-to-write is {now}): "
            f"set min-replicas-to-write {replicas}."
        )
    return problems


class Guard:
    """Remembers whose store it was: one that becomes another's, or empty, is refused. Looks at every primary."""

    def __init__(
        self,
        flusher: Router,
        *,
        partitions: int,
        durability: str,
        replicas: int = 1,
    ) -> None:
        self._flusher = flusher
        self._partitions = partitions
        self._durability = durability
        self._replicas = replicas
        self.cluster_id = ""

    async def check(self) -> list[str]:
        """What is unsafe about the store, a sentence each.

        Raises:
            StoreError: the store does not answer, or refuses the questions.
        """
        nodes = list(self._flusher.primaries)
        found: list[str] = []
        for node in nodes:
            problems = problems_of(await self._facts(node), self._durability, self._replicas)
            found += [f"{problem} ({node.address})" for problem in problems] if len(nodes) > 1 else problems
        return found

    async def is_nearly_full(self) -> bool:
        """Whether a node uses more than FULL_RATIO of its maxmemory, if it has one.

        Raises:
            StoreError: the store does not answer.
        """
        for node in list(self._flusher.primaries):
            info = _facts_of(await node.submit(("INFO", "memory"), replies.as_it_is))
            if int(info["used_memory"]) > FULL_RATIO * (int(info["maxmemory"]) or math.inf):
                return True
        return False

    async def claim(self) -> None:
        """Make sure that the store is this cluster's; a new one becomes it.

        Raises:
            StoreUnsafeError: it is another's, or has lost what it was. No option allows that.
        """
        await self._is_of_this_kind()
        # Whoever has used the store has claimed it before, so these are read first.
        marks = [self._flusher.submit(("EXISTS", key), bool) for key in (keys.COORDINATORS, keys.HANDLERS)]
        is_used = bool(self.cluster_id) or any([await mark for mark in marks])
        command = script("meta").command(
            (keys.META,), (SCHEMA, self._partitions, secrets.token_hex(8), "1" if is_used else "")
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

    async def _is_of_this_kind(self) -> None:
        """No option allows a Cluster's node to be taken for all of it."""
        node = self._flusher.primaries[0]
        facts = await self._facts(node)
        if facts.cluster and not self._flusher.spans_nodes:
            raise StoreUnsafeError(
                [f"The store is a node of a Cluster: write redis+cluster://{node.address} as its address."]
            )

    async def _facts(self, node: Flusher) -> Facts:
        text: bytes = await node.submit(("INFO",), replies.as_it_is)
        info = _facts_of(text)
        is_valkey = "valkey_version" in info
        return Facts(
            server="Valkey" if is_valkey else "Redis",
            version=_version(info["valkey_version"] if is_valkey else info["redis_version"]),
            role=info["role"],
            policy=info["maxmemory_policy"],
            append_only=info["aof_enabled"] == "1",
            appendfsync=await self._setting(node, "appendfsync"),
            cluster=info.get("cluster_enabled") == "1",
            replicas=int(info.get("connected_slaves", 0)),
            replicas_min=int(found)
            if (found := await self._setting(node, "min-replicas-to-write"))
            else None,
        )

    async def _setting(self, node: Flusher, name: str) -> str | None:
        try:
            reply = await node.submit(("CONFIG", "GET", name), replies.as_it_is)
        except (StoreScriptError, StoreUnsafeError):
            return None
        return reply[1].decode() if reply else None


def _facts_of(text: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
