"""Random walks of the product's ledger (aiki_worker/run_ledger.py) against the store of model A.

The ledger is fed and told as aiki_worker/held_run.py does it; the store is the pure one of protocol.py.
Events are letters as there. One incarnation holds the run all the time, so that late copies of commits
are not fenced and only their numbers tell them apart.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from aiki_task.payloads import Payload
from aiki_worker import run_ledger
from aiki_worker.run_ledger import RunLedger
from aiki_workflow import events
from tests.model import protocol
from tests.model.protocol import Accepted, Commit, Flow, Grant, Incarnation, Rules, Store

HOLDER = Incarnation(11)
FAIR_STEPS_MAX = 300


class WalkError(AssertionError):
    """What went wrong on a walk, and its steps."""


@dataclass(slots=True)
class Walk:
    """One run from its first grant to its end."""

    flow: Flow
    rules: Rules
    chance: random.Random
    breaks_left: int = 0
    store: Store = field(default_factory=Store)
    ledger: RunLedger = field(default_factory=RunLedger)
    seen: str = ""
    length: int = 0  # of the history, once all that was sent stands, as far as it is known
    calls: deque[Commit] = field(default_factory=deque[Commit])
    answers: deque[Accepted] = field(default_factory=deque[Accepted])
    unanswered: list[Commit] = field(default_factory=list[Commit])
    late: deque[Commit] = field(default_factory=deque[Commit])
    to_deliver: list[str] = field(default_factory=list[str])
    steps: list[str] = field(default_factory=list[str])

    def run(self, steps: int) -> None:
        """That many random steps, then fair ones until the run is closed and the ledger knows."""
        self.to_deliver = [letter for letter, _ in self.flow.mail]
        self._take()
        for _ in range(steps):
            choices = [*self._choices(), *self._faults()]
            if not choices:
                break
            self.chance.choice(choices)()
        for _ in range(FAIR_STEPS_MAX):
            choices = list(self._choices())
            if not choices:
                break
            choices[0]()
        if not self.store.closed or self.unanswered:
            raise self._wrong("it never ended")

    def _choices(self) -> Iterable[Callable[[], None]]:
        if self.calls:
            yield self._execute
        if self.answers:
            yield self._hear
        for task in sorted(self.ledger.running):
            yield partial(self._finish, task)
        if self.late:
            yield self._execute_late
        if self.to_deliver:
            yield self._deliver
        if self.store.ready and self.store.holder:
            yield self._poke
        if self.store.ready and not self.store.holder and not self.unanswered:
            yield self._take

    def _faults(self) -> Iterable[Callable[[], None]]:
        if self.breaks_left and self.unanswered:
            yield self._break
        if self.store.holder:
            yield self._poke  # a late one, for mail that was drained since

    def _take(self) -> None:
        self.store, granted = protocol.grant(
            self.store, HOLDER, Grant(self.store.lease.epoch + 1), self.flow, self.rules
        )
        assert granted is not None
        self._note(f"granted with history {granted.history}")
        self.ledger, self.seen, self.length = RunLedger(), granted.history, len(granted.history)
        open_tasks = [task for task, cause in self.flow.local if cause in self.seen and task not in self.seen]
        for task in open_tasks:
            self.ledger.gate(task, 0)
        self._end_if_done()
        self._settle()

    def _execute(self) -> None:
        commit = self.calls.popleft()
        self.store, answer = protocol.commit(self.store, HOLDER, commit, self.flow, self.rules)
        if not isinstance(answer, Accepted):
            raise self._wrong(f"commit {commit.number} was refused: {answer}")
        self._note(f"commit {commit.number} [{commit.events}] stands, drained [{answer.drained}]")
        self.answers.append(answer)

    def _execute_late(self) -> None:
        commit = self.late.popleft()
        self.store, _ = protocol.commit(self.store, HOLDER, commit, self.flow, self.rules)
        self._note(f"a late copy of commit {commit.number} arrives, the history is {self.store.history}")

    def _hear(self) -> None:
        answer = self.answers.popleft()
        stood = [commit for commit in self.unanswered if commit.number == answer.number]
        if answer.lease != self.store.lease or not stood:
            return
        self.unanswered.remove(stood[0])
        self._note(f"commit {answer.number} is answered")
        for letter in stood[0].events:
            if letter not in self.store.history:
                raise self._wrong(f"{letter} was acknowledged and is not recorded")
        self.length += len(answer.drained)
        self.ledger.answer(answer.number, mail_waits=answer.mail_waits)
        if not answer.released:
            for letter in answer.drained:
                self._feed(letter, self.ledger.position)
            while (held := self.ledger.take_held()) is not None:
                self._feed_result(held)
            self._settle()

    def _finish(self, task: str) -> None:
        self._note(f"{task} ends")
        assert self.ledger.finished(task)
        result = events.TaskCompleted(1, task, Payload(b"1"), 1, 0, "w")
        if self.ledger.offer(result):
            self._feed_result(result)
        self._settle()

    def _deliver(self) -> None:
        letter = self.to_deliver.pop(0)
        self._note(f"{letter} is delivered")
        self.store = protocol.deliver(self.store, letter, self.rules)

    def _poke(self) -> None:
        self._note("the holder is poked")
        self.ledger.poke()
        self._settle()

    def _break(self) -> None:
        """Answers are lost; some of what was under way arrives later, all of it is sent again at once."""
        self.breaks_left -= 1
        self._note("the stream breaks")
        self.late.extend(list(self.calls)[: self.chance.randint(0, len(self.calls))])
        self.answers.clear()
        self.calls = deque(self.unanswered)

    def _feed_result(self, result: events.Input) -> None:
        assert isinstance(result, events.TaskCompleted)
        self.ledger.record_result(result)
        self._feed(result.address, self.ledger.position)

    def _feed(self, letter: str, position: int) -> None:
        """What HeldRun does with a turn: record its commands, gate its tasks."""
        if self.flow.is_done(self.seen):
            return
        self.seen += letter
        asked = [task for task, cause in self.flow.local if cause == letter]
        self.ledger.record_commands([events.TaskScheduled(1, task, "t", Payload(b"1")) for task in asked])
        for task in asked:
            self.ledger.gate(task, position)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.flow.is_done(self.seen):
            self.ledger.record_commands([events.RunCompleted(1, Payload(b"1"))])
            self.ledger.close()

    def _settle(self) -> None:
        for task in self.ledger.admitted():
            cause = dict(self.flow.local)[task]
            if cause not in self.store.history:
                raise self._wrong(f"{task} started before its cause {cause} was recorded")
            self.ledger.started(task)
        for item in self.ledger.due_commits():
            commit = self._commit(item)
            self._note(f"commit {commit.number} [{commit.events}] is sent")
            self.calls.append(commit)
            self.unanswered.append(commit)
        self._check_order()

    def _commit(self, commit: run_ledger.Commit) -> Commit:
        letters = _letters(commit.items)
        closes = any(isinstance(item, events.RunCompleted) for item in commit.items)
        drains = commit.drain or not self.rules.drain_explicit
        base, self.length = self.length, self.length + len(letters)
        return Commit(self.store.lease, commit.number, base, letters, drains, commit.idle, closes)

    def _check_order(self) -> None:
        history = self.store.history
        if len(set(history)) < len(history):
            raise self._wrong(f"an input is recorded twice: {history}")
        both = [letter for letter in history if letter in self.seen]
        if both != [letter for letter in self.seen if letter in history]:
            raise self._wrong(f"the code saw {self.seen}, the history is {history}")

    def _note(self, step: str) -> None:
        self.steps.append(step)

    def _wrong(self, what: str) -> WalkError:
        lines = [f"  {number:2}. {step}" for number, step in enumerate(self.steps, 1)]
        return WalkError("\n".join([what, *lines]))


def walk(flow: Flow, rules: Rules, *, seed: int, steps: int = 40, breaks: int = 0) -> None:
    """One walk.

    Raises:
        WalkError: an invariant is broken.
    """
    Walk(flow, replace(rules), random.Random(seed), breaks).run(steps)


def _letters(items: Sequence[run_ledger.Item]) -> str:
    return "".join(item.address for item in items if isinstance(item, events.TaskCompleted))
