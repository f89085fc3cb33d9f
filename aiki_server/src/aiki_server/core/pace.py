"""How often a coordinator looks over its partitions, and for what others left: seldom while nothing is there to be done.

Whoever makes something acts on it at once; looking finds what a dead coordinator, or a lost message, left. So a longer
interval makes healing later, never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BUSY_SECONDS: Final = 2.0
QUIET_SECONDS: Final = 10.0
GROWTH: Final = 1.5
CLAIM_SECONDS: Final = 2.0
CLAIM_SECONDS_MAX: Final = 16.0
CLAIM_GROWTH: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a partition holds. Times are ms, None when there is nothing of the kind.

    Attributes:
        timer_ms: when its first timer is due.
        ready_ms: when the oldest of what needs attention was last hinted.
        deadline_ms: when the time of a run is up first.
        outbox: effects on other partitions that wait.
        holders: incarnations that hold, or held, something here.
    """

    timer_ms: int | None = None
    ready_ms: int | None = None
    deadline_ms: int | None = None
    outbox: int = 0
    holders: tuple[str, ...] = ()


NOTHING: Final = Look()


def next_interval_s(last_s: float, looks: Iterable[Look], ttl_s: float) -> float:
    """Seconds until the next look: shortest when something waits, growing while nothing does."""
    busy_s = min(BUSY_SECONDS, ttl_s / 3)
    if any(look.ready_ms is not None or look.outbox for look in looks):
        return busy_s
    return min(max(last_s * GROWTH, busy_s), QUIET_SECONDS, ttl_s)


def next_claim_s(last_s: float, *, found: bool) -> float:
    """Seconds until a stream is next searched for what was read and not granted: ever more while nothing is found.

    What lies there longer is hinted again by the sweep of what is ready.
    """
    if found:
        return CLAIM_SECONDS
    return min(max(last_s * CLAIM_GROWTH, CLAIM_SECONDS), CLAIM_SECONDS_MAX)
