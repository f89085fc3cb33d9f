"""What a run's next commit holds, and when its tasks may start: the decisions of one lease.

Pure: no engine, no clock, no I/O. `runs.py` tells a ledger what was fed, issued and answered, and asks
it what to do. Invariants:

* a task starts only when everything recorded before the turn that asked for it is acknowledged;
* nothing is fed between a draining commit and its answer, and nothing is sent after it;
* an idle commit is a draining one, sent only when no local task runs, waits or is held;
* commits are numbered 1, 2, 3 … and hold every event once, in the order in which it was recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, unique
from typing import Final

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.placing import ANYWHERE, Placement
from aiki_task.records import keyword_record, record
from aiki_task.task import TaskOptions
from aiki_workflow import events

COMMIT_EVENTS_MAX: Final = 500
COMMIT_BYTES_MAX: Final = 1024 * 1024
"""Payload bytes after which a commit is cut; one event alone may be larger."""
IN_FLIGHT_MAX: Final = 4
"""Plain commits under way for one run; beyond it events gather."""


@keyword_record
class TaskSpec:
    """What another worker needs to run a task. `deadline_ms` 0: none."""

    address: str
    task: str
    input: Payload
    queue: str
    options: TaskOptions
    deadline_ms: int
    attempts_made: int
    workflow_id: str
    checkpoint: Payload | None = None
    placement: Placement = ANYWHERE
    traceparent: str = ""
    trace_link: str = ""
    dispatched_ms: int = 0


@record
class Dispatch:
    """A task goes to a queue: the note for the history, and what its next worker needs."""

    note: events.TaskDispatched
    spec: TaskSpec


Item = events.Event | Dispatch


@record
class Commit:
    """One numbered piece of the history; `stall` parks the run."""

    number: int
    items: Sequence[Item]
    drain: bool = False
    idle: bool = False
    stall: FailureInfo | None = None


@unique
class Phase(Enum):
    """`OPEN`: works. `LEAVING`: starts nothing more. `ENDING`: the last commit is due. `OVER`: it was sent."""

    OPEN = "open"
    LEAVING = "leaving"
    ENDING = "ending"
    OVER = "over"


class RunLedger:
    """The commits of one lease of one run."""

    __slots__ = (
        "_acknowledged",
        "_draining",
        "_gated",
        "_held",
        "_in_flight",
        "_mail_waits",
        "_number",
        "_pending",
        "_pending_bytes",
        "_phase",
        "_recorded",
        "_running",
        "_spoken",
        "_stall",
        "_urgent",
        "_weighty",
    )

    def __init__(self) -> None:
        self._phase = Phase.OPEN
        self._pending: list[Item] = []
        self._pending_bytes = 0
        self._number = 0
        self._recorded = 0
        self._acknowledged = 0
        self._in_flight: deque[tuple[int, int]] = deque()  # number, events recorded up to its end
        self._draining = 0  # the number of the draining commit under way
        self._mail_waits = False
        self._urgent = False  # something pending is to be seen by others now
        self._spoken = False  # there is something to say beside the history
        self._weighty = False  # something pending is an outcome, worth a commit of its own
        self._stall: FailureInfo | None = None
        self._gated: deque[tuple[int, str]] = deque()  # position that must be acknowledged, address
        self._running: set[str] = set()
        self._held: deque[events.Input] = deque()

    @property
    def position(self) -> int:
        """Events recorded under this lease so far."""
        return self._recorded

    @property
    def acknowledged(self) -> int:
        """Events of them that stand."""
        return self._acknowledged

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def running(self) -> frozenset[str]:
        """Addresses of the local tasks that run."""
        return frozenset(self._running)

    @property
    def is_settled(self) -> bool:
        """Whether all that was recorded is acknowledged."""
        return not self._pending and not self._in_flight

    @property
    def may_feed(self) -> bool:
        """Whether the code may be given an input now."""
        return not self._draining and (self._phase is Phase.OPEN or self._phase is Phase.LEAVING)

    @property
    def may_hand_back(self) -> bool:
        """Whether the lease can be released with nothing lost: all that ran is recorded."""
        return (
            self._phase is Phase.LEAVING
            and not self._running
            and not self._in_flight
            and not self._pending
            and not self._held
        )

    def offer(self, result: events.Input) -> bool:
        """Whether a local *result* may be fed now; if not it is held, see `take_held`."""
        if self.may_feed:
            return True
        if self._draining:
            self._held.append(result)
        return False

    def take_held(self) -> events.Input | None:
        """The next result that was held and may be fed now."""
        return self._held.popleft() if self._held and self.may_feed else None

    def record_result(self, result: events.Input) -> None:
        """A local result, recorded before it is fed."""
        self._weighty = True
        self._record(result)

    def record_commands(self, commands: Iterable[events.Command]) -> None:
        """What one turn issued, whole and in order."""
        for command in commands:
            self._record(command)

    def record_note(self, note: events.Note | Dispatch) -> None:
        """Something others are to see now."""
        self._urgent = True
        self._record(note)

    def flush(self) -> None:
        """Let what is pending wait for nothing, such as a timer that is to be armed."""
        self._urgent = True

    def speak(self) -> None:
        """Send a commit soon, even one without events: it has something to take along."""
        self._spoken = self._urgent = True

    def gate(self, address: str, position: int) -> None:
        """A task to start once everything up to *position* is acknowledged. Positions never decrease."""
        if self._phase is Phase.OPEN:
            self._gated.append((position, address))

    def admitted(self) -> list[str]:
        """The tasks whose gate is open, each told once: start or dispatch them now."""
        open_now: list[str] = []
        while self._gated and self._gated[0][0] <= self._acknowledged:
            open_now.append(self._gated.popleft()[1])
        return open_now

    def started(self, address: str) -> None:
        """A local attempt runs."""
        self._running.add(address)

    def finished(self, address: str) -> bool:
        """A local attempt is over; False when nobody wants to know any more."""
        if address not in self._running:
            return False
        self._running.discard(address)
        return True

    def forget_task(self, address: str) -> None:
        """The task's outcome is no longer wanted."""
        self._running.discard(address)
        if any(gated == address for _, gated in self._gated):
            self._gated = deque(entry for entry in self._gated if entry[1] != address)

    def poke(self) -> None:
        """Mail waits."""
        self._mail_waits = True

    def close(self) -> None:
        """The code is done: what is recorded is the end of the history."""
        self._end()

    def stall(self, failure: FailureInfo) -> None:
        """The code cannot go on: park the run after what is recorded."""
        self._stall = failure
        self._end()

    def leave(self) -> None:
        """Start nothing more; the lease goes back when what runs is over and recorded."""
        if self._phase is Phase.OPEN:
            self._phase = Phase.LEAVING
            self._gated.clear()

    def refused(self, number: int, failure: FailureInfo) -> Commit:
        """The commit that parks the run instead of commit *number*, which was found invalid."""
        self._phase = Phase.OVER
        self._pending.clear()
        self._in_flight.clear()
        self._drop_tasks()
        self._in_flight.append((number, self._recorded))
        return Commit(number, (), stall=failure)

    def due_commits(self) -> list[Commit]:
        """The commits to send now, in order."""
        if self._draining or self._phase is Phase.OVER:
            return []
        if self._phase is Phase.ENDING:
            self._phase = Phase.OVER
            return self._cut(stall=self._stall)
        if self._phase is Phase.LEAVING:
            return self._cut() if self._pending or self._spoken else []
        if not self._running and not self._gated:
            return self._cut(drain=True, idle=True)
        if self._mail_waits:
            return self._cut(drain=True)
        if (self._pending or self._spoken) and self._is_due():
            return self._cut()
        return []

    def answer(self, number: int, *, mail_waits: bool) -> None:
        """Commit *number* stands, and with it all before it."""
        while self._in_flight and self._in_flight[0][0] <= number:
            self._acknowledged = self._in_flight.popleft()[1]
        if number == self._draining:
            self._draining = 0
        # A poke that overtook the answer stays: it costs one more drain at most.
        self._mail_waits = self._mail_waits or mail_waits

    def _is_due(self) -> bool:
        awaited = bool(self._gated) and self._gated[-1][0] > self._recorded - len(self._pending)
        if self._urgent or awaited:
            return len(self._in_flight) < IN_FLIGHT_MAX
        return self._weighty and not self._in_flight

    def _record(self, item: Item) -> None:
        self._pending.append(item)
        self._pending_bytes += payload_bytes(item)
        self._recorded += 1

    def _end(self) -> None:
        if self._phase is not Phase.OVER:
            self._phase = Phase.ENDING
        self._drop_tasks()

    def _drop_tasks(self) -> None:
        self._gated.clear()
        self._running.clear()
        self._held.clear()

    def _cut(
        self, *, drain: bool = False, idle: bool = False, stall: FailureInfo | None = None
    ) -> list[Commit]:
        pending, base = self._pending, self._recorded - len(self._pending)
        pieces = [pending]
        if len(pending) > COMMIT_EVENTS_MAX or self._pending_bytes > COMMIT_BYTES_MAX:
            pieces = list(_pieces(pending))
        self._pending, self._pending_bytes = [], 0
        self._urgent = self._weighty = self._spoken = False
        commits: list[Commit] = []
        for piece in pieces:
            self._number += 1
            base += len(piece)
            self._in_flight.append((self._number, base))
            last = base == self._recorded
            commits.append(
                Commit(self._number, piece, drain and last, idle and last, stall if last else None)
            )
        if drain:
            self._draining = self._number
            self._mail_waits = False
        return commits


def _pieces(items: Sequence[Item]) -> Iterable[list[Item]]:
    piece: list[Item] = []
    size = 0
    for item in items:
        grown = size + payload_bytes(item)
        if piece and (len(piece) == COMMIT_EVENTS_MAX or grown > COMMIT_BYTES_MAX):
            yield piece
            piece, grown = [], payload_bytes(item)
        piece.append(item)
        size = grown
    yield piece


def payload_bytes(item: Item) -> int:
    """The bytes of users' values in *item*."""
    match item:
        case events.TaskScheduled() | events.RunStarted() | events.ChildScheduled() | events.RunContinued():
            return len(item.input.data)
        case events.TaskCompleted() | events.RunCompleted() | events.ChildCompleted():
            return len(item.output.data)
        case events.SignalReceived() | events.SignalSent() | events.StatePublished():
            return len(item.value.data)
        case events.UpdateCompleted():
            return 0 if item.output is None else len(item.output.data)
        case events.TaskProgressed():
            return len(item.checkpoint.data)
        case Dispatch():
            return len(item.spec.input.data)
        case _:
            return 0
