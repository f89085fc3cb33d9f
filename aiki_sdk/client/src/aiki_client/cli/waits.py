"""What a run that waits is waiting for, read from its history."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiki_workflow import events


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that is due at a time."""

    what: str
    since_ms: int
    due_ms: int


def waits_for(history: Iterable[events.Event]) -> str:
    """What a waiting run waits for and since when, in one line: its next timer or retry, else a signal."""
    waits: dict[str, Wait] = {}
    last_ms = 0
    for event in history:
        last_ms = event.at
        match event:
            case events.TimerStarted(at, address, due_ms):
                waits[address] = Wait(what=f"timer {address}", since_ms=at, due_ms=due_ms)
            case events.TaskAttemptFailed(address=address, retry_at_ms=due_ms):
                waits[address] = Wait(what=f"retry of {address}", since_ms=event.at, due_ms=due_ms)
            case events.TaskScheduled() | events.TaskStarted() | events.TaskDispatched():
                pass
            case _:
                waits.pop(getattr(event, "address", ""), None)
    if not waits:
        return f"a signal, since {_local(last_ms)}"
    first = min(waits.values(), key=lambda wait: wait.due_ms)
    others = f", and {len(waits) - 1} more" if len(waits) > 1 else ""
    return f"{first.what}, since {_local(first.since_ms)}, until {_local(first.due_ms)}{others}"


def _local(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
