"""What a session holds, as far as its messages say: for people, never for decisions about leases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from aiki_server.core.runs import LeaseToken


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work; queue and handler are empty when it was adopted from another stream."""

    queue: str
    handler: str


ADOPTED = Work("", "")


class Holdings:
    """Leases from the moment they were sent until the message that ends them."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[str, Work]] = {}

    def given(self, token: LeaseToken, work: Work = ADOPTED) -> None:
        """It holds this; an earlier lease of the same is over."""
        self._held[token.run_id, token.address] = token.nonce, work

    def ended(self, token: LeaseToken) -> None:
        """This lease is over."""
        thing = token.run_id, token.address
        held = self._held.get(thing)
        if held is not None and held[0] == token.nonce:
            del self._held[thing]

    @property
    def runs(self) -> int:
        """How many runs."""
        return sum(not address for _, address in self._held)

    @property
    def tasks(self) -> int:
        """How many remote tasks."""
        return len(self._held) - self.runs

    def by_work(self) -> Counter[Work]:
        """How many leases of each kind of work."""
        return Counter(work for _, work in self._held.values())
