"""Where work may go: priority, slots and labels, checked when they are given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from aiki_task.errors import PlacementError

PRIORITIES: Final = range(1, 6)
PRIORITY_DEFAULT: Final = 3
SLOTS_MAX: Final = 100_000
LABELS_MAX: Final = 20
_PART = re.compile(r"[A-Za-z0-9._/-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a task or a run may go.

    Attributes:
        priority: 1 (first) to 5; None: the run's for a task, its parent's for a child, otherwise 3.
        slots: how many slots of a worker a task takes.
        labels: `KEY=VALUE` each, sorted: what a worker must have.
        prefers: likewise, what it should have; after a second anyone will do.
    """

    priority: int | None = None
    slots: int = 1
    labels: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()


ANYWHERE: Final = Placement()


def placed(
    before: Placement,
    *,
    priority: int | None = None,
    slots: int | None = None,
    labels: Mapping[str, str] | None = None,
    prefers: Mapping[str, str] | None = None,
) -> Placement:
    """The placement with what is given in place of what was there.

    Raises:
        PlacementError: one of them cannot be.
    """
    return replace(
        before,
        priority=before.priority if priority is None else _priority(priority),
        slots=before.slots if slots is None else _slots(slots),
        labels=before.labels if labels is None else labels_of("labels", labels),
        prefers=before.prefers if prefers is None else labels_of("prefers", prefers),
    )


def labels_of(name: str, labels: object) -> tuple[str, ...]:
    """A mapping as sorted `KEY=VALUE`.

    Raises:
        PlacementError: it is none, or has a part that cannot be in a label.
    """
    if not isinstance(labels, Mapping):
        raise PlacementError(f'{name}={labels!r}: write a mapping, such as {{"gpu": "a100"}}')
    pairs = cast("Mapping[object, object]", labels)
    if len(pairs) > LABELS_MAX:
        raise PlacementError(f"{name} has {len(pairs)} labels: {LABELS_MAX} are the most")
    for part in (*pairs.keys(), *pairs.values()):
        if not isinstance(part, str) or not _PART.fullmatch(part):
            raise PlacementError(
                f"{name}: {part!r} cannot be part of a label: use letters, digits, '-', '_', '.' and '/', "
                "64 characters at most"
            )
    return tuple(sorted(f"{key}={value}" for key, value in pairs.items()))


def _priority(priority: object) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in PRIORITIES:
        raise PlacementError(f"priority={priority!r}: write 1 (first) to 5 (last)")
    return priority


def _slots(slots: object) -> int:
    if isinstance(slots, bool) or not isinstance(slots, int) or not 1 <= slots <= SLOTS_MAX:
        raise PlacementError(f"slots={slots!r}: write how many slots it takes, 1 to {SLOTS_MAX:,}")
    return slots


def queue_name(queue: object) -> str | None:
    """A queue's name, or None.

    Raises:
        PlacementError: it is empty, too long, or no text.
    """
    if queue is None or (isinstance(queue, str) and queue.strip() and len(queue) <= 200):
        return queue
    raise PlacementError(f"queue={queue!r}: write a name of 1 to 200 characters")
