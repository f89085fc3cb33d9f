"""A run as the worker that holds it sees it: what its code saw, what is recorded, what is under way.

Pure functions from one state to the next, after aiki_worker/run_ledger.py. Letters as in protocol.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model.protocol import Accepted, Commit, Flow, Granted, Lease, Rules

IN_FLIGHT_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One lease. `seen` is what the code was fed, in order; `known` what of it is acknowledged, sorted."""

    lease: Lease
    seen: str
    known: str
    length: int  # of the history, as far as it is known here, once all that was sent stands
    pending: str = ""  # results fed and not sent
    in_flight: tuple[Commit, ...] = ()
    running: str = ""  # local tasks, sorted
    kept: str = ""  # results that came during a drain
    draining: bool = False
    poked: bool = False
    number: int = 0
    over: bool = False


def take(grant: Granted, flow: Flow, rules: Rules) -> Holding:
    """Replay, and start what is open."""
    seen = grant.history
    run = Holding(lease=grant.lease, seen=seen, known=_sorted(seen), length=len(seen))
    return start(run, flow, rules)


def start(run: Holding, flow: Flow, rules: Rules) -> Holding:
    """Run the tasks that were asked for and whose cause is acknowledged."""
    if run.over or flow.is_done(run.seen):
        return run
    causes = run.known if rules.effects_wait else run.seen
    done = run.seen + run.kept
    running = [task for task, cause in flow.local if cause in causes and task not in done]
    return replace(run, running=_sorted("".join(running)))


def finish(run: Holding, task: str, flow: Flow, rules: Rules) -> Holding:
    """A local task ended: its result is fed, or kept while a drain is under way."""
    run = replace(run, running=run.running.replace(task, ""))
    if run.draining and rules.drain_explicit:
        return replace(run, kept=run.kept + task)
    return start(_feed(run, task), flow, rules)


def due_commits(run: Holding, flow: Flow, rules: Rules) -> Iterator[tuple[str, Holding]]:
    """What may be sent now, in words, and the run once it is sent (last of `in_flight`)."""
    if run.over or (run.draining and rules.drain_explicit) or len(run.in_flight) >= IN_FLIGHT_MAX:
        return
    if flow.is_done(run.seen):
        yield "the last commit", _send(run, drain=False, idle=False, close=True)
        return
    idle = not run.running and not _waiting_tasks(run, flow)
    if idle or run.poked:
        yield ("an idle commit" if idle else "a draining commit"), _send(run, drain=True, idle=idle)
    if run.pending and not idle:
        yield "a commit", _send(run, drain=not rules.drain_explicit, idle=False)


def accepted(run: Holding, answer: Accepted, flow: Flow, rules: Rules) -> Holding:
    """A commit stands: what it drained is fed, then what was kept, then what waited for it may start."""
    stands = [commit for commit in run.in_flight if commit.number <= answer.number]
    left = run.in_flight[len(stands) :]
    recorded = "".join(commit.events for commit in stands)
    run = replace(
        run,
        in_flight=left,
        known=_sorted(run.known + recorded),
        draining=any(commit.drain for commit in left),
        poked=run.poked or answer.mail_waits,
        length=run.length + len(answer.drained),
    )
    for letter in answer.drained:
        if not run.over:
            run = replace(run, seen=run.seen + letter, known=_sorted(run.known + letter))
    while run.kept and not run.draining and not flow.is_done(run.seen):
        run = _feed(replace(run, kept=run.kept[1:]), run.kept[0])
    if flow.is_done(run.seen):
        run = replace(run, running="", kept="")
    return start(run, flow, rules)


def _feed(run: Holding, task: str) -> Holding:
    return replace(run, seen=run.seen + task, pending=run.pending + task)


def _waiting_tasks(run: Holding, flow: Flow) -> bool:
    """Whether a task was asked for that has not ended."""
    done = run.seen + run.kept
    return any(cause in run.seen and task not in done for task, cause in flow.local)


def _send(run: Holding, *, drain: bool, idle: bool, close: bool = False) -> Holding:
    number = run.number + 1
    commit = Commit(run.lease, number, run.length, run.pending, drain, idle, close)
    return replace(
        run,
        number=number,
        length=run.length + len(run.pending),
        pending="",
        in_flight=(*run.in_flight, commit),
        draining=drain,
        poked=run.poked and not drain,
        over=close,
    )


def _sorted(letters: str) -> str:
    return "".join(sorted(letters))
