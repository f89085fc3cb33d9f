"""Where work may go: its priority, the slots it takes, and the labels a worker must or should have.

Plain values. A label is written `KEY=VALUE`. What is default everywhere is encoded as nothing at all, since most
work is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

PRIORITY_FIRST: Final = 1
PRIORITY_LAST: Final = 5
PRIORITY_DEFAULT: Final = 3
SLOTS_MAX: Final = 100_000
LABELS_MAX: Final = 20
LABEL_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a run or a task asks for.

    Attributes:
        priority: 1 (first) to 5.
        slots: how many slots of a worker it takes; of tasks only.
        labels: what a worker must have, sorted.
        prefers: what a worker should have, for a short time, sorted.
    """

    priority: int = PRIORITY_DEFAULT
    slots: int = 1
    labels: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()

    def encode(self) -> str:
        """As the store keeps it; '' for what is default everywhere."""
        fields: dict[str, object] = {}
        if self.priority != PRIORITY_DEFAULT:
            fields["p"] = self.priority
        if self.slots != 1:
            fields["s"] = self.slots
        if self.labels:
            fields["l"] = self.labels
        if self.prefers:
            fields["f"] = self.prefers
        return json.dumps(fields, separators=(",", ":")) if fields else ""


ANYWHERE: Final = Placement()


@lru_cache(maxsize=4096)
def decode(text: str) -> Placement:
    """What `Placement.encode` made."""
    if not text:
        return ANYWHERE
    fields = cast("dict[str, Any]", json.loads(text))
    return Placement(
        priority=fields.get("p", PRIORITY_DEFAULT),
        slots=fields.get("s", 1),
        labels=tuple(fields.get("l", ())),
        prefers=tuple(fields.get("f", ())),
    )


def problem(priority: int, slots: int, labels: Iterable[tuple[str, str]]) -> str:
    """What is wrong with these; '' when nothing is. 0 stands for the default."""
    if not 0 <= priority <= PRIORITY_LAST:
        return f"priority must be {PRIORITY_FIRST} (first) to {PRIORITY_LAST}, not {priority}"
    if slots > SLOTS_MAX:
        return f"slots must be 1 to {SLOTS_MAX:,}, not {slots:,}"
    pairs = list(labels)
    if len(pairs) > LABELS_MAX:
        return f"at most {LABELS_MAX} labels, not {len(pairs)}"
    for key, value in pairs:
        if not is_label(key, value):
            return (
                f"label {key}={value} is not valid: letters, digits, '-', '_', '.' and '/', "
                f"{LABEL_CHARACTERS_MAX} characters at most in each part"
            )
    return ""


def is_label(key: str, value: str) -> bool:
    """Whether both parts are letters, digits and a few signs."""
    return all(
        0 < len(part) <= LABEL_CHARACTERS_MAX
        and part.isascii()
        and all(sign.isalnum() or sign in "-_./" for sign in part)
        for part in (key, value)
    )
