"""Why work has no home: pure decisions over what workers say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum, unique
from typing import Final

from aiki_server.core.matching import Lane
from aiki_server.core.queues import PoolReport

NAMED_MAX: Final = 3


@unique
class Cause(StrEnum):
    """What something waits for; the first five are in the order in which they are looked at."""

    NO_HANDLER = "no_handler"
    NO_QUEUE = "no_queue"
    NO_LABEL = "no_label"
    NO_SLOTS = "no_slots"
    NO_CREDIT = "no_credit"
    READY = "ready"
    CLOSED = "closed"
    LEASED = "leased"
    PAUSED = "paused"
    STALLED = "stalled"
    SCHEDULED = "scheduled"
    TIMER = "timer"
    BACKOFF = "backoff"
    DEFERRED = "deferred"
    CHILD = "child"
    SIGNAL = "signal"


HOMELESS: Final = frozenset({Cause.NO_HANDLER, Cause.NO_QUEUE, Cause.NO_LABEL, Cause.NO_SLOTS})
"""Nothing happens until another worker connects."""


@dataclass(frozen=True, slots=True)
class Home:
    """Whether work of a lane could go somewhere now: a sentence, and what to do about it ('' for nothing)."""

    cause: Cause
    message: str
    advice: str = ""


def home_of(lane: Lane, pools: Iterable[PoolReport]) -> Home:
    """Who could take work of this lane, or what is missing first."""
    pools = [pool for pool in pools if pool.profile.namespace == lane.namespace]
    serving = [pool for pool in pools if lane.handler in pool.profile.handlers]
    if not serving:
        return _no_handler(lane, pools)
    in_queue = [pool for pool in serving if lane.queue in pool.profile.queues]
    if not in_queue:
        return _no_queue(lane, serving)
    labelled = [pool for pool in in_queue if pool.profile.labels.issuperset(lane.labels)]
    if not labelled:
        return _no_label(lane, in_queue)
    fitting = [
        pool for pool in labelled if lane.slots == 1 or lane.slots <= pool.profile.capacity(lane.queue)
    ]
    if not fitting:
        return _no_slots(lane, labelled)
    return _credit(lane, fitting)


def name_of(lane: Lane) -> str:
    """What a lane's work is, for people: `purchase v2` or `task charge`."""
    kind, _, rest = lane.handler.partition(":")
    if kind == "t":
        return f"task {rest}"
    name, _, version = rest.rpartition(":")
    return f"{name} v{version}"


def _no_handler(lane: Lane, pools: Sequence[PoolReport]) -> Home:
    what = name_of(lane)
    known = {handler for pool in pools for handler in pool.profile.handlers}
    if not pools:
        advice = f"Start a worker for namespace {lane.namespace!r}."
        return Home(Cause.NO_HANDLER, f"No worker serves {what}: none is connected.", advice)
    others = sorted(name_of(_handled(handler)) for handler in known if _same_workflow(handler, lane.handler))
    if others:
        message = f"No worker serves {what}; there are workers for {_some(others)}."
        return Home(Cause.NO_HANDLER, message, "Keep workers of this version until its runs have ended.")
    near = get_close_matches(
        lane.handler, sorted(handler for handler in known if handler[0] == lane.handler[0]), n=1
    )
    hint = f" The nearest name is {name_of(_handled(near[0]))}." if near else ""
    return Home(
        Cause.NO_HANDLER, f"No worker serves {what}.{hint}", "Start a worker whose modules define it."
    )


def _no_queue(lane: Lane, serving: Sequence[PoolReport]) -> Home:
    queues = sorted({queue for pool in serving for queue in pool.profile.queues})
    message = f"Workers serve {name_of(lane)} in {_queues(queues)}, none in queue {lane.queue!r}."
    near = get_close_matches(lane.queue, queues, n=1)
    hint = f", or is queue {near[0]!r} meant?" if near else "."
    return Home(Cause.NO_QUEUE, message, f"Start one with --queue {lane.queue}{hint}")


def _no_label(lane: Lane, in_queue: Sequence[PoolReport]) -> Home:
    there = {label for pool in in_queue for label in pool.profile.labels}
    who = f"No worker that serves {name_of(lane)} in queue {lane.queue!r} has"
    missing = [label for label in lane.labels if label not in there]
    if not missing:
        return Home(
            Cause.NO_LABEL,
            f"{who} {' and '.join(lane.labels)} together.",
            "Start one that has all of these labels.",
        )
    label = missing[0]
    near = nearest_label(label, there)
    hint = f"; the nearest label is {near}" if near else f"; their labels: {_some(sorted(there)) or 'none'}"
    return Home(
        Cause.NO_LABEL,
        f"{who} label {label}{hint}.",
        f"Start one with --label {label}, or correct the label.",
    )


def nearest_label(label: str, there: Iterable[str]) -> str:
    """The label that may be meant: of the same key first; '' if none is near."""
    there = sorted(there)
    key = label.partition("=")[0]
    same_key = [other for other in there if other.partition("=")[0] == key]
    near = get_close_matches(label, same_key, n=1) or same_key[:1] or get_close_matches(label, there, n=1)
    return near[0] if near else ""


def _no_slots(lane: Lane, labelled: Sequence[PoolReport]) -> Home:
    most = max(pool.profile.capacity(lane.queue) for pool in labelled)
    message = (
        f"It takes {lane.slots} slots; the largest worker that serves it gives queue {lane.queue!r} {most}."
    )
    return Home(Cause.NO_SLOTS, message, f"Start a worker with --slots {lane.slots} or more.")


def _credit(lane: Lane, fitting: Sequence[PoolReport]) -> Home:
    workers = sum(pool.sessions for pool in fitting)
    free = sum(pool.free(lane) for pool in fitting)
    if free > 0:
        return Home(
            Cause.READY, f"{_count(workers, 'worker')} that fit{'s' if workers == 1 else ''} can take it now."
        )
    message = f"{_count(workers, 'worker')} fit{'s' if workers == 1 else ''}, with no room now."
    return Home(Cause.NO_CREDIT, message, "Wait, or start more workers.")


def _handled(handler: str) -> Lane:
    return Lane("", "", handler)


def _same_workflow(one: str, other: str) -> bool:
    return one.startswith("w:") and one.rpartition(":")[0] == other.rpartition(":")[0]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _queues(names: Sequence[str]) -> str:
    return f"queue{'s' if len(names) > 1 else ''} {_some([repr(name) for name in names])}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number:,} {what}s"
