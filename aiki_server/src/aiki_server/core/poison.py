"""What kills workers: a pure decision about lost leases that finds the guilty and spares those beside them.

A lost lease is a suspicion, no proof: whoever shared the worker lost theirs too. After a run's first loss its tasks
get leases of their own; a task that lost two runs alone; only what a task loses while it runs alone counts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SHARED_LOSSES_MAX: Final = 1
"""A task that lost more leases than this, its run's counted as one, runs alone."""
DEATHS_MAX: Final = 3
"""A task that lost so many leases while it ran alone is poison."""


def is_mass(dead: int, known: int) -> bool:
    """Whether *dead* of *known* sessions, gone in one sweep, tell of an outage and not of what they ran."""
    return dead > 1 and 2 * dead >= known


def is_poison(deaths: Collection[str], returned: Collection[str]) -> bool:
    """Whether a task is given up.

    Args:
        deaths: the incarnations that were lost while the task ran alone on them, this time included.
        returned: incarnations that were taken for dead and were not.
    """
    return len(set(deaths) - set(returned)) >= DEATHS_MAX
