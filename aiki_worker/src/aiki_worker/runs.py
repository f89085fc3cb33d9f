"""The runs this worker holds or remembers: grants and answers go to the run they are for.

Invariants: an answer counts only under the lease it names; a new grant of a run fences the old one; a
run that breaks never harms another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiki.v1 import worker_pb2
from aiki_task.failures import FailureInfo, from_exception
from aiki_worker import wire
from aiki_worker.cache import Mark, RunCache
from aiki_worker.executors import Attempt, Outcome
from aiki_worker.held_run import HeldRun, Host, Memory
from aiki_worker.messages import CommitResult, HistoryPage, Lease, Poke, Refusal, Refusing, RunGrant
from aiki_worker.metrics import EVENTS_REPLAYED, FENCED, GRANTS
from aiki_worker.run_ledger import Phase
from aiki_worker.run_logs import Said
from aiki_workflow import Workflow, events
from aiki_workflow.engine import RunEngine, RunInfo

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Partial:
    """A grant whose history has not arrived whole yet."""

    grant: RunGrant
    memory: Memory | None
    history: list[events.Event] = field(default_factory=list[events.Event])

    @property
    def next_index(self) -> int:
        return self.grant.first_index + len(self.history)


class Unsettled:
    """The run is here, and not as the store has it: ask again when an answer has come."""


class Runs:
    """All runs of a worker; `say` takes messages for the coordinator."""

    def __init__(
        self,
        namespace: str,
        workflows: Mapping[tuple[str, str], Workflow[..., Any]],
        host: Host,
        cache_size: int,
        say: Callable[[worker_pb2.WorkerMessage], None],
    ) -> None:
        self._turning: HeldRun | None = None
        self._namespace = namespace
        self._workflows = workflows
        self._host = host
        self._say = say
        self._held: dict[str, HeldRun] = {}
        self._partial: dict[str, _Partial] = {}
        self._cache: RunCache[Memory] = RunCache(cache_size)
        self._touched: dict[str, HeldRun] = {}
        self._leaving = False

    @property
    def doing(self) -> str:
        """The run whose code runs right now, for people; empty when none does."""
        run = self._turning
        return "" if run is None else run.title

    @property
    def cached(self) -> int:
        """Runs remembered."""
        return len(self._cache)

    @property
    def count(self) -> int:
        """Runs held, those whose history is still arriving included."""
        return len(self._held) + len(self._partial)

    def grant(self, grant: RunGrant) -> None:
        """Take a run, or wait for the rest of its history."""
        run_id = grant.lease.run_id
        self._drop(run_id)
        if self._leaving or (grant.workflow, grant.version) not in self._workflows:
            self._cache.drop(run_id)
            self._say(wire.release_to_wire(grant.lease))
            return
        cached = self._cache.take(run_id, epoch=grant.lease.epoch, first_index=grant.first_index)
        if grant.first_index and cached is None:
            self._partial[run_id] = _Partial(_from_start(grant), None)
            self._say(wire.need_history_to_wire(grant.lease, 0))
            return
        if not grant.first_index and cached is not None:
            cached.close()
            cached = None
        self._arrive(_Partial(grant, cached), grant.events)

    def page(self, page: HistoryPage) -> None:
        """Take a part of a history."""
        partial = self._partial.get(page.lease.run_id)
        if partial is None or partial.grant.lease != page.lease or page.first_index != partial.next_index:
            return
        if page.refusal is not None:
            self._drop(page.lease.run_id)
            if page.refusal.reason != "FENCED":
                self._say(wire.release_to_wire(page.lease))
            return
        self._arrive(partial, page.events)

    def committed(self, result: CommitResult) -> None:
        """Take the answer to a commit."""
        run = self._holding(result.lease)
        if run is None:
            return
        if result.refusal is not None:
            self._refused(run, result.number, result.refusal)
            return
        run.ledger.answer(result.number, mail_waits=result.mail_waits)
        run.trace.acknowledged()
        if result.released:
            self._released(run, result)
            return
        self._guarded(run, lambda: self._go_on(run, result.drained))

    def attempt_ended(self, run: HeldRun, attempt: Attempt, outcome: Outcome) -> None:
        """Take the outcome of a local attempt."""
        if self._held.get(run.lease.run_id) is run:
            self._guarded(run, lambda: run.attempt_ended(attempt, outcome))

    def tell_start(self, run: HeldRun, address: str, attempt: Attempt) -> None:
        """An attempt has been going on for a while."""
        if self._held.get(run.lease.run_id) is run and not attempt.is_over:
            run.tell_start(address, attempt)
            self._touched[run.lease.run_id] = run

    def said(self, said: Said) -> None:
        """Code of a run, or of a local attempt, has logged something; what nobody holds any more is forgotten."""
        run = self._held.get(said.run_id)
        if run is not None and said.engine in {None, run.engine}:
            run.trace.said(said.line)

    def speak(self) -> None:
        """Have what was logged and still waits sent."""
        for run_id, run in self._held.items():
            if run.trace.speak():
                self._touched[run_id] = run

    def poke(self, poke: Poke) -> None:
        """Mail waits."""
        run = self._holding(poke.lease)
        if run is not None:
            run.ledger.poke()
            self._touched[run.lease.run_id] = run

    def recall(self, lease: Lease) -> None:
        """Give the run back as soon as what runs of it is recorded."""
        run = self._holding(lease)
        if run is not None:
            run.ledger.leave()
            self._touched[lease.run_id] = run

    def give_back(self, lease: Lease) -> None:
        """Give a run back for another worker, if it has not begun: its history has not arrived whole yet."""
        partial = self._partial.get(lease.run_id)
        if partial is not None and partial.grant.lease == lease:
            self._say(wire.release_to_wire(lease))
            self._drop(lease.run_id)
            return
        kept = Refusing.NOT_HELD if self._holding(lease) is None else Refusing.STARTED
        self._say(wire.recall_ack_to_wire(lease, kept))

    def engine_at(self, run_id: str, length: int) -> RunEngine | Unsettled | None:
        """The run as the store has it, if it is here and stands at *length* or beyond."""
        run = self._held.get(run_id)
        if run is not None:
            return run.engine if run.ledger.is_settled else Unsettled()
        if run_id in self._partial:
            return Unsettled()
        memory = self._cache.look(run_id, length)
        return None if memory is None else memory.engine

    def settle(self) -> None:
        """Send what is due for every run that something happened to."""
        while self._touched:
            _, run = self._touched.popitem()
            if self._held.get(run.lease.run_id) is not run:
                continue
            try:
                commits = run.due_commits()
            except Exception as error:  # noqa: BLE001  a run that breaks never harms another
                self._stall(run, error)
                commits = run.ledger.due_commits()
            for commit in commits:
                message = wire.commit_to_wire(run.lease_wire, commit)
                run.trace.take_along(message.commit)
                self._say(message)
            if run.ledger.may_hand_back:
                self._say(wire.release_to_wire(run.lease))
                self._drop(run.lease.run_id)

    def leave(self) -> None:
        """Start nothing more; hand back each run when what runs is over and recorded."""
        self._take_no_more()
        for run_id, run in self._held.items():
            run.ledger.leave()
            self._touched[run_id] = run

    def hand_back_all(self) -> None:
        """Give back every run as the store has it, and whatever comes later; what runs is stopped."""
        self._take_no_more()
        for run in list(self._held.values()):
            self._say(wire.release_to_wire(run.lease))
            self._drop(run.lease.run_id)

    def _take_no_more(self) -> None:
        self._leaving = True
        self._cache.clear()
        for partial in list(self._partial.values()):
            self._say(wire.release_to_wire(partial.grant.lease))
            self._drop(partial.grant.lease.run_id)

    def lost(self, leases: Iterable[Lease]) -> None:
        """These leases are gone."""
        for lease in leases:
            run = self._holding(lease)
            partial = self._partial.get(lease.run_id)
            if run is not None or (partial is not None and partial.grant.lease == lease):
                self._drop(lease.run_id)

    def drop_all(self) -> None:
        """Every lease is gone; what is cached may be wrong."""
        for run_id in [*self._held, *self._partial]:
            self._drop(run_id)
        self._cache.clear()

    def _arrive(self, partial: _Partial, arrived: Iterable[events.Event]) -> None:
        run_id = partial.grant.lease.run_id
        partial.history.extend(arrived)
        # What is beyond belongs to a later lease.
        del partial.history[partial.grant.length - partial.grant.first_index :]
        if partial.next_index < partial.grant.length:
            self._partial[run_id] = partial
            self._say(wire.need_history_to_wire(partial.grant.lease, partial.next_index))
            return
        self._partial.pop(run_id, None)
        memory = partial.memory or self._fresh(partial.grant)
        run = self._held[run_id] = HeldRun(partial.grant, memory, self._host)
        GRANTS.add(("replayed" if partial.memory is None else "cached",))
        if partial.memory is None:
            EVENTS_REPLAYED.add((), len(partial.history))
            self._guarded(run, lambda: run.replay(partial.history))
        else:
            self._guarded(run, lambda: run.feed_recorded(partial.history))

    def _fresh(self, grant: RunGrant) -> Memory:
        info = RunInfo(
            namespace=self._namespace,
            run_id=grant.lease.run_id,
            workflow_id=grant.workflow_id,
            workflow=grant.workflow,
            version=grant.version,
            queue=grant.queue,
        )
        return Memory(engine=RunEngine(self._workflows[info.workflow, info.version], info))

    def _go_on(self, run: HeldRun, drained: Sequence[events.Event]) -> None:
        run.feed_recorded(drained)
        run.feed_held()

    def _guarded(self, run: HeldRun, step: Callable[[], None]) -> None:
        """Run code of the run's; whatever it raises parks that run alone."""
        self._turning = run
        self._touched[run.lease.run_id] = run
        try:
            step()
        except Exception as error:  # noqa: BLE001  as the docstring says
            self._stall(run, error)
        finally:
            self._turning = None

    @staticmethod
    def _stall(run: HeldRun, error: Exception) -> None:
        log.error("%s broke in the worker and is parked", run.title, exc_info=error)
        run.stall(from_exception(error, kind="bug"))

    def _refused(self, run: HeldRun, number: int, refusal: Refusal) -> None:
        run_id = run.lease.run_id
        if refusal.reason == "INVALID_COMMIT" and run.ledger.phase is not Phase.OVER:
            log.error("%s: commit %d was refused: %s", run.title, number, refusal.message)
            failure = FailureInfo(kind="bug", type="InvalidCommitError", message=refusal.message)
            run.cancel_attempts()
            run.trace.stop()
            self._say(wire.commit_to_wire(run.lease_wire, run.ledger.refused(number, failure)))
            return
        log.warning("%s: the lease is over (%s)", run.title, refusal.reason)
        FENCED.add(("commit", refusal.reason))
        if refusal.reason != "FENCED":
            self._say(wire.release_to_wire(run.lease))
        self._drop(run_id)

    def _released(self, run: HeldRun, result: CommitResult) -> None:
        run_id = run.lease.run_id
        if run.ledger.phase is Phase.OPEN:
            del self._held[run_id]
            self._touched.pop(run_id, None)
            self._cache.put(run_id, Mark(run.lease.epoch, run.lease.nonce, result.length), run.memory)
        else:
            run.trace.closed()
            self._drop(run_id)

    def _holding(self, lease: Lease) -> HeldRun | None:
        run = self._held.get(lease.run_id)
        return run if run is not None and run.lease == lease else None

    def _drop(self, run_id: str) -> None:
        partial = self._partial.pop(run_id, None)
        if partial is not None and partial.memory is not None:
            partial.memory.close()
        self._touched.pop(run_id, None)
        run = self._held.pop(run_id, None)
        if run is not None:
            run.close()


def _from_start(grant: RunGrant) -> RunGrant:
    return RunGrant(
        lease=grant.lease,
        workflow_id=grant.workflow_id,
        workflow=grant.workflow,
        version=grant.version,
        queue=grant.queue,
        length=grant.length,
        first_index=0,
        events=(),
        lease_losses=grant.lease_losses,
    )
