"""What a session holds, as far as its messages say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aiki_server.core.matching import Lane
from aiki_server.core.runs import LeaseToken

ADOPTED = Lane("", "", "")
"""What is known of work that was adopted from another stream."""


class Holdings:
    """Leases from the moment they were sent until the message that ends them."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[str, Lane]] = {}
        self._asked = 0
        self.when_idle: Callable[[], None] | None = None
        """Called whenever it holds nothing any more, and nothing was asked for."""

    def given(self, token: LeaseToken, lane: Lane = ADOPTED) -> None:
        """It holds this; an earlier lease of the same is over."""
        self._held[token.run_id, token.address] = token.nonce, lane

    def ended(self, token: LeaseToken) -> None:
        """This lease is over."""
        thing = token.run_id, token.address
        held = self._held.get(thing)
        if held is not None and held[0] == token.nonce:
            del self._held[thing]
            self._tell()

    def ask(self) -> None:
        """The store is asked for something for it."""
        self._asked += 1

    def answered(self) -> None:
        """The store has answered; what it gave is `given` before."""
        self._asked -= 1
        self._tell()

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing and will not in a moment."""
        return not self._held and not self._asked

    @property
    def count(self) -> int:
        """How many leases."""
        return len(self._held)

    @property
    def runs(self) -> int:
        """How many runs."""
        return sum(not address for _, address in self._held)

    @property
    def tasks(self) -> int:
        """How many remote tasks."""
        return len(self._held) - self.runs

    def _tell(self) -> None:
        if self.is_idle and self.when_idle is not None:
            self.when_idle()

    def by_lane(self) -> Counter[Lane]:
        """How many leases of each lane."""
        return Counter(lane for _, lane in self._held.values())
