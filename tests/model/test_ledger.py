"""The product's ledger keeps the rules of H1, H2 and H17: random walks, and turns that are too large.

Walks are no proof: each test says how many it makes. A seed that fails prints its steps.
"""

import pytest

from aiki_task.payloads import Payload
from aiki_worker.run_ledger import COMMIT_EVENTS_MAX, RunLedger
from aiki_workflow import events
from tests.model.ledger_walk import WalkError, walk
from tests.model.protocol import Flow, Rules

EVERYTHING = Flow(
    local=(("a", "s"), ("b", "s"), ("c", "a"), ("d", "g")),
    mail=(("g", ""), ("h", ""), ("i", "")),
    needs="sabcdghi",
)
WALKS = 1_000
UNPACK_MAX = 7_999
"""Lua's unpack takes no more values (H17)."""


def first_failure(rules: Rules, *, breaks: int = 0) -> str:
    """What went wrong on the first walk that fails; empty if none does."""
    for seed in range(WALKS):
        try:
            walk(EVERYTHING, rules, seed=seed, breaks=breaks)
        except WalkError as error:
            print(error)
            return str(error)
    return ""


def test_h01_the_ledger_feeds_nothing_while_it_drains() -> None:
    """Real code: at most 1,000 walks, then as many with a store that drains on every commit."""
    assert not first_failure(Rules())
    assert "the code saw" in first_failure(Rules(drain_explicit=False))


def test_h02_numbers_tell_late_copies_from_new_commits() -> None:
    """Real code: 1,000 walks with two broken streams each; then a store that goes by the base length."""
    assert not first_failure(Rules(), breaks=2)
    assert "was acknowledged" in first_failure(Rules(commits_numbered=False), breaks=2)
    assert "the code saw" in first_failure(Rules(repeat_is_its_own=False), breaks=2)


@pytest.mark.parametrize("count", [1, 500, 501, 10_000])
def test_h17_a_large_turn_goes_in_numbered_pieces(count: int) -> None:
    """Real code: no piece is more than a script can take, none drains but the last."""
    ledger = RunLedger()
    commands = [events.TimerStarted(1, f"sleep/1ms/{number}", 2) for number in range(count)]
    ledger.record_commands(commands)
    commits = ledger.due_commits()

    assert [item for commit in commits for item in commit.items] == commands
    assert [commit.number for commit in commits] == list(range(1, len(commits) + 1))
    assert all(len(commit.items) <= COMMIT_EVENTS_MAX < UNPACK_MAX for commit in commits)
    assert [commit.drain for commit in commits] == [False] * (len(commits) - 1) + [True]
    assert ledger.due_commits() == []


def test_h17_what_starts_waits_for_the_last_piece_of_what_was_before() -> None:
    """Real code: a task asked for after 10,001 commands starts when all of them are acknowledged."""
    ledger = RunLedger()
    ledger.record_commands([events.TimerStarted(1, f"sleep/1ms/{number}", 2) for number in range(10_001)])
    position = ledger.position
    ledger.record_commands([events.TaskScheduled(1, "step/1", "step", Payload(b"1"))])
    ledger.gate("step/1", position)
    ledger.flush()
    commits = ledger.due_commits()

    for commit in commits[:-1]:
        ledger.answer(commit.number, mail_waits=False)
        assert ledger.admitted() == []
    ledger.answer(commits[-1].number, mail_waits=False)
    assert ledger.admitted() == ["step/1"]


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_h01_h02_walks_for_long() -> None:
    """Real code: 100,000 walks with up to three broken streams each."""
    for seed in range(100_000):
        walk(EVERYTHING, Rules(), seed=seed, steps=60, breaks=seed % 4)
