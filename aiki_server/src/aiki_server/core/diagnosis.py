"""What is to be said of a cluster, given the facts: the advice behind `aiki doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

CLOCK_MS_MAX: Final = 1_000
LATE_MS_MAX: Final = 10_000


@unique
class Severity(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it ('' for nothing)."""

    severity: Severity
    subject: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the store tells of the cluster. `late_ms`: how late the most overdue timer is, 0 when none is."""

    coordinators: int
    sessions: int
    served: int
    stalled: int
    late_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a coordinator knows; `seen` is None when the store did not answer."""

    store_problems: Sequence[str]
    is_nearly_full: bool
    is_draining: bool
    clock_ahead_ms: float
    seen: Seen | None


def findings_of(facts: Facts) -> list[Finding]:
    """One finding for each thing that is looked at, in a fixed order; several for a store with several problems."""
    found = [*_store(facts), _memory(facts), *_clock(facts.clock_ahead_ms), *_drain(facts)]
    if facts.seen is not None:
        seen = facts.seen
        found += [_coordinators(seen), _workers(seen), _timers(seen.late_ms), _stalled(seen.stalled)]
    return found


def _store(facts: Facts) -> Iterable[Finding]:
    if not facts.store_problems:
        return [Finding(Severity.OK, "store", "It answers and keeps what it acknowledges.")]
    advice = "Nothing is lost meanwhile: commits wait. Mend the store; coordinators go on by themselves."
    return [Finding(Severity.PROBLEM, "store", problem, advice) for problem in facts.store_problems]


def _memory(facts: Facts) -> Finding:
    if not facts.is_nearly_full:
        return Finding(Severity.OK, "memory", "The store has room.")
    return Finding(
        Severity.PROBLEM,
        "memory",
        "The store uses over 85 % of its memory: new runs are refused.",
        "Raise maxmemory, or shorten retention_days so that closed runs are deleted earlier.",
    )


def _clock(ahead_ms: float) -> Iterable[Finding]:
    if abs(ahead_ms) <= CLOCK_MS_MAX:
        yield Finding(Severity.OK, "clock", "The coordinator's clock agrees with the store's.")
        return
    word = "ahead of" if ahead_ms > 0 else "behind"
    yield Finding(
        Severity.WARNING,
        "clock",
        f"The coordinator's clock is {abs(ahead_ms) / 1000:.1f} s {word} the store's.",
        "Aiki follows the store's clock; synchronize both (NTP) so that logs and traces agree.",
    )


def _drain(facts: Facts) -> Iterable[Finding]:
    if facts.is_draining:
        advice = "Ask another, or wait for its successor."
        yield Finding(Severity.WARNING, "coordinator", "This one is draining.", advice)


def _coordinators(seen: Seen) -> Finding:
    if seen.coordinators > 1:
        return Finding(Severity.OK, "coordinators", f"{seen.coordinators} share the work.")
    message = "There is one: while it restarts, workers and clients wait."
    return Finding(Severity.OK, "coordinators", message)


def _workers(seen: Seen) -> Finding:
    if not seen.sessions:
        advice = "Start one: aiki worker MODULE --address HOST:PORT."
        return Finding(Severity.WARNING, "workers", "None is connected: runs wait.", advice)
    if not seen.served:
        message = f"{seen.sessions} connected, none of them serves this namespace."
        advice = "Start one with --namespace, or look at another namespace."
        return Finding(Severity.WARNING, "workers", message, advice)
    message = f"{seen.sessions} connected, serving {seen.served} handlers of this namespace."
    return Finding(Severity.OK, "workers", message)


def _timers(late_ms: int) -> Finding:
    if late_ms <= LATE_MS_MAX:
        return Finding(Severity.OK, "timers", "None is late.")
    return Finding(
        Severity.PROBLEM,
        "timers",
        f"One is {late_ms / 1000:.0f} s late.",
        "Coordinators are overloaded, or cannot reach the store: look at their logs and CPU.",
    )


def _stalled(count: int) -> Finding:
    if not count:
        return Finding(Severity.OK, "stalled", "No run is parked by a bug.")
    return Finding(
        Severity.WARNING,
        "stalled",
        f"Runs that a bug in their code has parked: {count}.",
        "aiki run list --state stalled, then aiki run show ID for the traceback; a worker with fixed code resumes them.",
    )
