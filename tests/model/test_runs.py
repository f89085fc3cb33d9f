"""Model A: with all rules on nothing goes wrong; without the rule that closes a hole, the hole is found.

Each test states its faults. "All there are" means that every state was explored; where a limit is given the
exploration is not exhaustive, and what lies behind the limit counts as good. Only the scripts and workers
of the model are checked here, not the product's: tests/store has the scripts, tests/unit/worker the ledger.
"""

import pytest

from tests.model.checker import assert_broken, assert_clean
from tests.model.protocol import Faults, Flow, Rules
from tests.model.runs import RunModel

WEDGE = "can never end"
STEPS = Flow(local=(("a", "s"), ("c", "a")), mail=(("g", ""),), needs="sacg")
"""Two steps, one after the other, and a signal at any time."""
TWO_SIGNALS = Flow(local=(("a", "s"),), mail=(("g", ""), ("h", "")), needs="sagh")
NO_SIGNAL = Flow(local=(("a", "s"), ("c", "a")), needs="sac")
CANCELLED = Flow(local=(("x", "s"),), mail=(("k", ""),), needs="sk", endless="x")
"""A task that ends only when the cancel comes."""
TWO_CANCELS = Flow(local=(("x", "s"),), mail=(("g", ""), ("k", "")), needs="sgk", endless="x", drain_max=1)
EVERYTHING = Flow(local=(("a", "s"), ("b", "s"), ("c", "a")), mail=(("g", ""), ("r", "a")), needs="sabcgr")
"""Two steps at once, one after the first, a signal, and a remote task after the first."""


def test_h01_draining_on_every_commit_breaks_the_order() -> None:
    """No fault at all; all states."""
    assert_broken(RunModel(flow=STEPS, rules=Rules(drain_explicit=False)), "the code saw sag")
    assert assert_clean(RunModel(flow=STEPS)).exhaustive


def test_h02_a_base_length_does_not_identify_a_commit() -> None:
    """One broken stream, leases that belong to sessions; order and loss only, all states.

    With leases of incarnations a late copy is fenced before its number is looked at, so both rules are
    left out; then numbers alone close the hole.
    """
    faults = Faults(stream_break=1)
    by_length = Rules(commits_numbered=False, incarnations=False)
    assert_broken(
        RunModel(flow=TWO_SIGNALS, rules=by_length, faults=faults), "was acknowledged", wedges=False
    )
    numbered = RunModel(flow=TWO_SIGNALS, rules=Rules(incarnations=False), faults=faults)
    assert assert_clean(numbered, wedges=False).exhaustive
    assert assert_clean(RunModel(flow=TWO_SIGNALS, faults=faults)).exhaustive


def test_h02_a_repeat_gets_its_own_answer() -> None:
    """One broken stream while two commits are under way, the second a draining one; all states."""
    faults = Faults(stream_break=1)
    rules = Rules(repeat_is_its_own=False)
    assert_broken(RunModel(flow=STEPS, rules=rules, faults=faults), "the code saw")
    assert assert_clean(RunModel(flow=STEPS, faults=faults)).exhaustive


def test_h03_a_grant_whose_answer_is_lost_must_be_repeatable() -> None:
    """One script that runs twice because its answer was lost; all states."""
    faults = Faults(repeat=1)
    assert_broken(RunModel(flow=STEPS, rules=Rules(grants_repeat=False), faults=faults), WEDGE)
    assert assert_clean(RunModel(flow=STEPS, faults=faults)).exhaustive


def test_h03_a_lease_of_a_session_outlives_the_grant_it_never_heard_of() -> None:
    """One broken stream or dead coordinator; all states."""
    faults = Faults(stream_break=1)
    assert_broken(RunModel(flow=STEPS, rules=Rules(incarnations=False), faults=faults), WEDGE)
    assert assert_clean(RunModel(flow=STEPS, faults=faults)).exhaustive


def test_h03_a_grant_that_lands_after_its_session_expired_is_swept() -> None:
    """One worker crash; all states."""
    faults = Faults(worker_crash=1)
    assert_broken(RunModel(flow=STEPS, rules=Rules(sweep_holders=False), faults=faults), WEDGE)
    assert assert_clean(RunModel(flow=STEPS, faults=faults)).exhaustive


def test_h05_a_lost_poke_must_not_leave_mail_unread_for_ever() -> None:
    """One lost poke; all states."""
    faults = Faults(lost_poke=1)
    assert_broken(RunModel(flow=CANCELLED, rules=Rules(ready_while_leased=False), faults=faults), WEDGE)
    assert assert_clean(RunModel(flow=CANCELLED, faults=faults)).exhaustive


def test_h07_a_gap_after_a_failover_must_end_the_lease() -> None:
    """One failover that loses writes; the order is not checked after it; all states."""
    faults = Faults(failover=1)
    assert_broken(RunModel(flow=NO_SIGNAL, rules=Rules(gap_releases=False), faults=faults), WEDGE)
    assert assert_clean(RunModel(flow=NO_SIGNAL, faults=faults)).exhaustive


def test_h07_the_last_grant_wins_whatever_its_epoch() -> None:
    """One failover that loses writes, so that an epoch is given twice; all states."""
    faults = Faults(failover=1)
    rules = Rules(last_grant_wins=False)
    assert_broken(RunModel(flow=NO_SIGNAL, rules=rules, faults=faults), "the lease in force was ignored")
    assert assert_clean(RunModel(flow=NO_SIGNAL, faults=faults)).exhaustive


def test_h07_sessions_reincarnate_after_a_failover() -> None:
    """One failover that undoes an acknowledged release; all states."""
    faults = Faults(failover=1)
    assert_broken(RunModel(flow=NO_SIGNAL, rules=Rules(reincarnate=False), faults=faults), WEDGE)
    assert assert_clean(RunModel(flow=NO_SIGNAL, faults=faults)).exhaustive


def test_h15_results_of_an_old_lease_are_not_results_of_the_new_one() -> None:
    """One wrong expiry, and a re-grant to the same worker while the old attempt runs; all states."""
    faults = Faults(wrong_expiry=1)
    rules = Rules(results_carry_lease=False)
    assert_broken(RunModel(flow=NO_SIGNAL, rules=rules, faults=faults), "saa")
    assert assert_clean(RunModel(flow=NO_SIGNAL, faults=faults)).exhaustive


def test_h17_a_bounded_drain_says_that_more_waits() -> None:
    """No fault, one input a drain; all states."""
    assert_broken(RunModel(flow=TWO_CANCELS, rules=Rules(drain_says_rest=False)), WEDGE)
    assert assert_clean(RunModel(flow=TWO_CANCELS)).exhaustive


def test_side_effects_wait_for_what_caused_them() -> None:
    """No fault; all states. The rule that every other one leans on."""
    assert_broken(RunModel(flow=STEPS, rules=Rules(effects_wait=False)), "c started before its cause a")
    assert assert_clean(RunModel(flow=STEPS)).exhaustive


CONFIGURATIONS = {
    "pipelined": RunModel(flow=EVERYTHING),
    "two workers": RunModel(flow=STEPS, workers=2),
    "break": RunModel(flow=EVERYTHING, faults=Faults(stream_break=1)),
    "two breaks": RunModel(flow=STEPS, faults=Faults(stream_break=2)),
    "repeat": RunModel(flow=EVERYTHING, faults=Faults(repeat=1)),
    "crash and repeat": RunModel(flow=NO_SIGNAL, faults=Faults(worker_crash=1, repeat=1), workers=2),
    "break and wrong expiry": RunModel(flow=STEPS, faults=Faults(stream_break=1, wrong_expiry=1)),
    "wrong expiry, two workers": RunModel(flow=NO_SIGNAL, faults=Faults(wrong_expiry=1), workers=2),
    "failover": RunModel(flow=STEPS, faults=Faults(failover=1)),
    "failover and break": RunModel(flow=NO_SIGNAL, faults=Faults(failover=1, stream_break=1)),
    "one input a drain": RunModel(flow=TWO_CANCELS, faults=Faults(stream_break=1, lost_poke=1)),
}
LONGER = {
    "two breaks and everything": RunModel(flow=EVERYTHING, faults=Faults(stream_break=2)),
    "break, repeat, wrong expiry": RunModel(
        flow=STEPS, faults=Faults(stream_break=1, repeat=1, wrong_expiry=1)
    ),
    "crash and break, two workers": RunModel(
        flow=STEPS, faults=Faults(worker_crash=1, stream_break=1), workers=2
    ),
    "failover, two workers": RunModel(flow=NO_SIGNAL, faults=Faults(failover=1, worker_crash=1), workers=2),
}
STATES_MAX = 22_000
CAMPAIGN_STATES_MAX = 1_000_000


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_all_rules_together(name: str) -> None:
    """At most 22,000 states each, so not exhaustive where there are more; what was reached says how many."""
    assert_clean(CONFIGURATIONS[name], states_max=STATES_MAX)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*CONFIGURATIONS, *LONGER])
def test_all_rules_together_for_long(name: str) -> None:
    """At most 1,000,000 states each, so not exhaustive where there are more; a few minutes and 1 GB each."""
    assert_clean((CONFIGURATIONS | LONGER)[name], states_max=CAMPAIGN_STATES_MAX)
