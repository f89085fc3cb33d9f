"""What the model of a run is made of: its rules, its faults, and the scripts of the store as pure functions.

One run, whose events are single letters: `s` is its start, the others results of tasks and mail. Commands
are functions of the inputs, so a history is the string of its inputs. The store's scripts here are those of
aiki_server/store/lua, without what one run does not need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NewType

Incarnation = NewType("Incarnation", int)
"""Ten times the worker's number, and which of its incarnations; 0 is none."""


def worker_of(incarnation: Incarnation) -> int:
    """The number of the worker, from 0."""
    return incarnation // 10 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What closes a hole of protocol-notes.md; each can be left out to see the hole."""

    drain_explicit: bool = True  # H1
    commits_numbered: bool = True  # H2
    repeat_is_its_own: bool = True  # H2: an older repeat is not answered with what the last one drained
    grants_repeat: bool = True  # H3 a
    incarnations: bool = True  # H3 b
    sweep_holders: bool = True  # H3 c
    ready_while_leased: bool = True  # H5
    gap_releases: bool = True  # H7
    last_grant_wins: bool = True  # H7
    reincarnate: bool = True  # H7
    results_carry_lease: bool = True  # H15
    drain_says_rest: bool = True  # H17
    effects_wait: bool = True  # the code may run ahead, side effects may not


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often the adversary may still do what."""

    worker_crash: int = 0
    stream_break: int = 0  # or the coordinator died: some of its calls still land
    repeat: int = 0  # a script runs, its answer is lost, it is sent again
    wrong_expiry: int = 0
    lost_poke: int = 0
    failover: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the code does: which tasks follow which input, and what it needs to be done."""

    local: tuple[tuple[str, str], ...]  # task, its cause
    mail: tuple[tuple[str, str], ...] = ()  # input from outside, what must be in the history before
    needs: str
    endless: str = ""  # local tasks that end only when the run does
    drain_max: int = 100

    def is_done(self, seen: str) -> bool:
        """Whether the code has come to its end."""
        return all(letter in seen for letter in self.needs)


@dataclass(frozen=True, slots=True)
class Lease:
    """Names a grant."""

    epoch: int
    nonce: int


NO_LEASE = Lease(0, 0)


@dataclass(frozen=True, slots=True)
class Grant:
    """Asks for the run; the caller makes the nonce."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Appends `events`; `base` is the length before them, which counts only without numbers."""

    lease: Lease
    number: int
    base: int
    events: str
    drain: bool
    idle: bool
    close: bool


@dataclass(frozen=True, slots=True)
class Release:
    """Gives the lease back."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Adopt:
    """Moves a lease from the old incarnation of a session."""

    old: Incarnation
    lease: Lease


@dataclass(frozen=True, slots=True)
class Forget:
    """The old incarnation is replaced. The last call of a resume: its answer is the Welcome."""

    old: Incarnation


Call = Grant | Commit | Release | Adopt | Forget


@dataclass(frozen=True, slots=True)
class Granted:
    """The run, with its whole history."""

    lease: Lease
    history: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A commit stands."""

    lease: Lease
    number: int
    length: int
    drained: str
    mail_waits: bool
    released: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A commit changed nothing: FENCED, or GAP when `gap`."""

    lease: Lease
    gap: bool


@dataclass(frozen=True, slots=True)
class Poke:
    """Mail waits."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Lost:
    """A lease that a resume listed is gone."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Welcome:
    """The incarnation is in force."""


Answer = Granted | Accepted | Refused | Poke | Lost | Welcome


@dataclass(frozen=True, slots=True)
class Last:
    """What the run keeps of its last commit."""

    number: int = 0
    length: int = 0
    drained: int = 0
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One run, and the sessions. `lease` is the newest, over or not; it is held when there is a `holder`."""

    history: str = ""
    mail: str = "s"
    ready: bool = True
    closed: bool = False
    lease: Lease = NO_LEASE
    holder: Incarnation = Incarnation(0)
    last: Last = Last()
    held: frozenset[Incarnation] = frozenset()
    sessions: frozenset[Incarnation] = frozenset()


def deliver(store: Store, letter: str, rules: Rules) -> Store:
    """Mail from outside; a closed run takes none."""
    if store.closed:
        return store
    needs = rules.ready_while_leased or not store.holder
    return replace(store, mail=store.mail + letter, ready=store.ready or needs)


def grant(
    store: Store, incarnation: Incarnation, call: Grant, flow: Flow, rules: Rules
) -> tuple[Store, Granted | None]:
    """Lease the run, mail into the history."""
    same = call.nonce == store.lease.nonce
    if store.closed:
        return store, None
    if store.holder:
        repeat = rules.grants_repeat and same and store.holder == incarnation
        return store, Granted(store.lease, store.history) if repeat else None
    if same or not store.ready:
        return store, None
    store, _ = _drain(store, flow, rules)
    lease = Lease(store.lease.epoch + 1, call.nonce)
    held = store.held | {incarnation}
    store = replace(store, lease=lease, holder=incarnation, last=Last(), held=held)
    return store, Granted(lease, store.history)


def commit(
    store: Store, incarnation: Incarnation, call: Commit, flow: Flow, rules: Rules
) -> tuple[Store, Accepted | Refused]:
    """Append, and drain or release as told. A repeat is answered before the holder is looked at."""
    last = store.last
    if call.lease != store.lease:
        return store, Refused(call.lease, gap=False)
    if rules.commits_numbered and call.number <= last.number:
        is_last = call.number == last.number or not rules.repeat_is_its_own
        drained = store.history[last.length - last.drained : last.length] if is_last else ""
        released = is_last and last.released
        return store, _accept(store, call, last.length, drained, rules, released=released)
    if not rules.commits_numbered and call.base < len(store.history):
        drained = store.history[call.base + len(call.events) :] if call.drain else ""
        return store, _accept(store, call, len(store.history), drained, rules, released=last.released)
    if store.holder != incarnation:
        return store, Refused(call.lease, gap=False)
    if rules.commits_numbered and call.number > last.number + 1:
        return store, Refused(call.lease, gap=True)
    store = replace(store, history=store.history + call.events)
    drained = ""
    if call.close:
        store = replace(store, closed=True, ready=False)
    elif call.drain:
        store, drained = _drain(store, flow, rules)
    released = call.close or (call.idle and not drained)
    if released:
        store = replace(store, holder=Incarnation(0), held=store.held - {incarnation})
    length = len(store.history)
    store = replace(store, last=Last(call.number, length, len(drained), released))
    return store, _accept(store, call, length, drained, rules, released=released)


def release(store: Store, incarnation: Incarnation, lease: Lease) -> Store:
    """The one way a lease ends early."""
    if store.lease == lease and store.holder == incarnation:
        held = store.held - {incarnation}
        return replace(store, holder=Incarnation(0), held=held, ready=not store.closed)
    if store.holder != incarnation:
        return replace(store, held=store.held - {incarnation})
    return store


def adopt(store: Store, incarnation: Incarnation, call: Adopt) -> Store | None:
    """Move the lease to the new incarnation; None when the old one does not hold it."""
    if store.lease != call.lease or store.holder not in {call.old, incarnation}:
        return None
    return replace(store, holder=incarnation, held=store.held - {call.old} | {incarnation})


def _accept(
    store: Store, call: Commit, length: int, drained: str, rules: Rules, *, released: bool
) -> Accepted:
    waits = bool(store.mail) and not released and (rules.drain_says_rest or not call.drain)
    return Accepted(call.lease, call.number, length, drained, waits, released)


def _drain(store: Store, flow: Flow, rules: Rules) -> tuple[Store, str]:
    drained, rest = store.mail[: flow.drain_max], store.mail[flow.drain_max :]
    ready = bool(rest) and rules.drain_says_rest
    return replace(store, history=store.history + drained, mail=rest, ready=ready), drained
