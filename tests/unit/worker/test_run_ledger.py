"""What a run's next commit holds, and when its tasks may start."""

import pytest
from hypothesis import given, strategies as st

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.task import TaskOptions
from aiki_worker.run_ledger import (
    COMMIT_BYTES_MAX,
    COMMIT_EVENTS_MAX,
    IN_FLIGHT_MAX,
    Commit,
    Dispatch,
    RunLedger,
    TaskSpec,
)
from aiki_workflow import events

BUG = FailureInfo(kind="bug", type="AttributeError", message="no such method")


def scheduled(address: str, size: int = 2) -> events.TaskScheduled:
    return events.TaskScheduled(1, address, "step", Payload(b"x" * size))


def completed(address: str) -> events.TaskCompleted:
    return events.TaskCompleted(1, address, Payload(b"1"), 1, 0, "w")


def run_completed() -> events.RunCompleted:
    return events.RunCompleted(1, Payload(b"1"))


def dispatch(address: str) -> Dispatch:
    spec = TaskSpec(
        address=address,
        task="step",
        input=Payload(b"1"),
        queue="default",
        options=TaskOptions(),
        deadline_ms=0,
        attempts_made=0,
        workflow_id="w",
    )
    return Dispatch(events.TaskDispatched(1, address, "default"), spec)


def issue(ledger: RunLedger, *addresses: str) -> None:
    """A turn that asks for tasks."""
    position = ledger.position
    ledger.record_commands([scheduled(address) for address in addresses])
    for address in addresses:
        ledger.gate(address, position)


def start_admitted(ledger: RunLedger) -> list[str]:
    admitted = ledger.admitted()
    for address in admitted:
        ledger.started(address)
    return admitted


def end(ledger: RunLedger, address: str, *next_addresses: str) -> None:
    """A local task ends, is fed, and the turn asks for more."""
    assert ledger.finished(address)
    result = completed(address)
    assert ledger.offer(result)
    ledger.record_result(result)
    issue(ledger, *next_addresses)


@pytest.fixture
def ledger() -> RunLedger:
    """A lease just granted: what was granted is durable."""
    return RunLedger()


def only(commits: list[Commit]) -> Commit:
    (commit,) = commits
    return commit


def test_first_tasks_start_before_any_commit(ledger: RunLedger) -> None:
    """What leads to them was granted, and so is durable; their own command need not be."""
    issue(ledger, "a", "b")

    assert start_admitted(ledger) == ["a", "b"]
    assert ledger.due_commits() == []


def test_one_step_run_takes_one_commit(ledger: RunLedger) -> None:
    """The command, the result and the end travel together."""
    issue(ledger, "a")
    start_admitted(ledger)
    ledger.due_commits()
    end(ledger, "a")
    ledger.record_commands([run_completed()])
    ledger.close()

    commit = only(ledger.due_commits())

    assert commit == Commit(1, [scheduled("a"), completed("a"), run_completed()])
    assert ledger.due_commits() == []


def test_next_task_waits_for_the_acknowledgement(ledger: RunLedger) -> None:
    """The code runs ahead, its side effects do not."""
    issue(ledger, "a")
    start_admitted(ledger)
    end(ledger, "a", "b")

    assert ledger.admitted() == []
    commit = only(ledger.due_commits())
    assert list(commit.items) == [scheduled("a"), completed("a"), scheduled("b")]
    assert not commit.drain
    assert ledger.admitted() == []
    ledger.answer(1, mail_waits=False)
    assert start_admitted(ledger) == ["b"]


def test_idle_commit_drains_and_comes_only_when_nothing_runs(ledger: RunLedger) -> None:
    """As long as a task runs or waits to run there is no idle commit."""
    issue(ledger, "a", "b")
    start_admitted(ledger)
    end(ledger, "a")
    first = only(ledger.due_commits())
    end(ledger, "b")
    second = only(ledger.due_commits())

    assert (first.drain, first.idle) == (False, False)
    assert (second.number, second.drain, second.idle) == (2, True, True)


def test_nothing_to_do_at_all_is_an_idle_commit_without_events(ledger: RunLedger) -> None:
    """Mail that was a no-op leaves nothing to record, and the lease goes back."""
    assert only(ledger.due_commits()) == Commit(1, [], drain=True, idle=True)


def test_nothing_is_fed_or_sent_while_draining(ledger: RunLedger) -> None:
    """H1: a result that comes between a draining commit and its answer is held, and fed after the mail."""
    issue(ledger, "a", "b")
    start_admitted(ledger)
    ledger.poke()
    assert only(ledger.due_commits()).drain

    assert not ledger.may_feed
    assert ledger.finished("a")
    assert not ledger.offer(completed("a"))
    assert ledger.take_held() is None
    assert ledger.due_commits() == []

    ledger.answer(1, mail_waits=False)
    assert ledger.take_held() == completed("a")
    assert ledger.take_held() is None


def test_draining_commit_is_the_last_in_flight(ledger: RunLedger) -> None:
    """It may follow plain ones; nothing follows it."""
    issue(ledger, "a", "b", "c")
    start_admitted(ledger)
    end(ledger, "a")
    assert not only(ledger.due_commits()).drain
    ledger.poke()
    end(ledger, "b")
    assert only(ledger.due_commits()) == Commit(2, [completed("b")], drain=True)

    ledger.answer(1, mail_waits=False)
    assert not ledger.may_feed
    ledger.answer(2, mail_waits=False)
    assert ledger.may_feed


def test_answer_that_says_mail_waits_leads_to_a_drain(ledger: RunLedger) -> None:
    """Other answers only say that mail waits."""
    issue(ledger, "a", "b")
    start_admitted(ledger)
    end(ledger, "a")
    ledger.due_commits()
    ledger.answer(1, mail_waits=True)

    assert only(ledger.due_commits()) == Commit(2, [], drain=True)


def test_poke_that_overtakes_the_answer_is_kept(ledger: RunLedger) -> None:
    """The mail may have come after the drain."""
    issue(ledger, "a")
    start_admitted(ledger)
    ledger.poke()
    ledger.due_commits()
    ledger.poke()
    ledger.answer(1, mail_waits=False)

    assert only(ledger.due_commits()).drain


def test_plain_commits_are_pipelined_up_to_a_limit(ledger: RunLedger) -> None:
    """A chain need not wait for another chain's acknowledgement."""
    names = [f"t{number}" for number in range(IN_FLIGHT_MAX + 1)]
    issue(ledger, *names, "long")
    start_admitted(ledger)
    sent: list[Commit] = []
    for name in names:
        end(ledger, name, f"{name}-next")
        sent += ledger.due_commits()

    assert [commit.number for commit in sent] == list(range(1, IN_FLIGHT_MAX + 1))
    ledger.answer(1, mail_waits=False)
    assert start_admitted(ledger) == ["t0-next"]
    assert only(ledger.due_commits()).number == IN_FLIGHT_MAX + 1


def test_results_that_nothing_waits_for_gather_while_one_is_in_flight(ledger: RunLedger) -> None:
    """A fan-out does not send a commit a result."""
    issue(ledger, "a", "b", "c", "long")
    start_admitted(ledger)
    end(ledger, "a")
    assert only(ledger.due_commits()).number == 1
    end(ledger, "b")
    end(ledger, "c")
    assert ledger.due_commits() == []
    ledger.answer(1, mail_waits=False)

    assert list(only(ledger.due_commits()).items) == [completed("b"), completed("c")]


def test_dispatch_goes_at_once(ledger: RunLedger) -> None:
    """It takes effect with the commit that holds it, and that stands on all before."""
    issue(ledger, "a")
    start_admitted(ledger)
    ledger.record_commands([scheduled("b")])
    ledger.record_note(dispatch("b"))

    commit = only(ledger.due_commits())

    assert list(commit.items) == [scheduled("a"), scheduled("b"), dispatch("b")]
    assert not commit.drain


def test_turn_of_many_commands_goes_in_numbered_pieces(ledger: RunLedger) -> None:
    """H17: none drains but the last, and together they are the turn."""
    commands = [scheduled(f"t{number}") for number in range(2 * COMMIT_EVENTS_MAX + 1)]
    ledger.record_commands(commands)

    pieces = ledger.due_commits()

    assert [piece.number for piece in pieces] == [1, 2, 3]
    assert [piece.drain for piece in pieces] == [False, False, True]
    assert [item for piece in pieces for item in piece.items] == commands


def test_large_payloads_go_in_pieces(ledger: RunLedger) -> None:
    """A frame has a limit, and so has a commit."""
    large = [scheduled(name, COMMIT_BYTES_MAX) for name in "abc"]
    ledger.record_commands(large)

    assert [len(piece.items) for piece in ledger.due_commits()] == [1, 1, 1]


def test_gate_of_a_turn_in_pieces_opens_with_its_last_piece(ledger: RunLedger) -> None:
    """What came before must be durable whole."""
    issue(ledger, "a", "long")
    start_admitted(ledger)
    ledger.record_commands([scheduled(f"t{number}") for number in range(COMMIT_EVENTS_MAX)])
    end(ledger, "a", "b")
    first, second = ledger.due_commits()

    ledger.answer(first.number, mail_waits=False)
    assert ledger.admitted() == []
    ledger.answer(second.number, mail_waits=False)
    assert ledger.admitted() == ["b"]


def test_cancelled_task_has_no_outcome(ledger: RunLedger) -> None:
    """H15: a result nobody wants is dropped, whether the task ran or waited to."""
    issue(ledger, "a", "b")
    start_admitted(ledger)
    issue(ledger, "c")
    ledger.forget_task("a")
    ledger.forget_task("c")

    assert not ledger.finished("a")
    assert ledger.finished("b")
    assert "c" not in ledger.admitted()


def test_bug_parks_the_run_after_what_was_recorded(ledger: RunLedger) -> None:
    """The input stays, the failing turn's commands are not there, and nothing follows."""
    issue(ledger, "a", "b")
    start_admitted(ledger)
    assert ledger.finished("a")
    ledger.record_result(completed("a"))
    ledger.stall(BUG)

    commit = only(ledger.due_commits())

    assert list(commit.items) == [scheduled("a"), scheduled("b"), completed("a")]
    assert commit.stall == BUG
    assert not commit.idle
    assert not ledger.finished("b")
    assert ledger.due_commits() == []


def test_refused_commit_is_replaced_by_one_that_parks(ledger: RunLedger) -> None:
    """Nothing of it was appended, so its number is free."""
    issue(ledger, "a")
    start_admitted(ledger)
    end(ledger, "a")
    ledger.due_commits()

    assert ledger.refused(1, BUG) == Commit(1, (), stall=BUG)
    assert ledger.due_commits() == []


def test_leaving_starts_nothing_and_hands_back_when_all_is_recorded(ledger: RunLedger) -> None:
    """What runs is finished and recorded first."""
    issue(ledger, "a")
    start_admitted(ledger)
    ledger.leave()
    assert not ledger.may_hand_back
    end(ledger, "a", "b")
    assert ledger.admitted() == []

    commit = only(ledger.due_commits())
    assert (commit.drain, commit.idle) == (False, False)
    assert not ledger.may_hand_back
    ledger.answer(1, mail_waits=True)
    assert ledger.due_commits() == []
    assert ledger.may_hand_back


@given(st.data())
def test_commits_hold_every_event_once_in_order(data: st.DataObject) -> None:
    """However turns, results and answers interleave; and no task starts before its cause is acknowledged."""
    ledger = RunLedger()
    recorded: list[events.Event] = []
    sent: list[Commit] = []
    cause: dict[str, int] = {}
    acknowledged = answers = made = 0
    running: list[str] = []

    def turn() -> None:
        nonlocal made
        position = ledger.position
        names = [f"t{made + number}" for number in range(data.draw(st.integers(0, 3)))]
        made += len(names)
        commands = [scheduled(name) for name in names]
        ledger.record_commands(commands)
        recorded.extend(commands)
        for name in names:
            cause[name] = position
            ledger.gate(name, position)

    turn()
    for _ in range(data.draw(st.integers(1, 30))):
        for name in ledger.admitted():
            assert cause[name] <= acknowledged
            ledger.started(name)
            running.append(name)
        draining = not ledger.may_feed
        commits = ledger.due_commits()
        assert not (draining and commits), "nothing follows a draining commit"
        assert not any(commit.idle and running for commit in commits)
        sent += commits
        if answers < len(sent) and data.draw(st.booleans()):
            commit = sent[answers]
            answers += 1
            ledger.answer(commit.number, mail_waits=data.draw(st.booleans()))
            acknowledged += len(commit.items)
        elif running:
            name = running.pop(data.draw(st.integers(0, len(running) - 1)))
            assert ledger.finished(name)
            if ledger.offer(completed(name)):
                ledger.record_result(completed(name))
                recorded.append(completed(name))
                turn()
        while (held := ledger.take_held()) is not None:
            ledger.record_result(held)
            recorded.append(held)
            turn()

    assert [commit.number for commit in sent] == list(range(1, len(sent) + 1))
    items = [item for commit in sent for item in commit.items]
    assert items == recorded[: len(items)]
