"""Small models: hints, poison, starting, stealing. All states of each configuration are explored.

Where the product has the feature, its scripts are tested in tests/store; here the rules themselves are.
"""

import pytest

from aiki_server.core.poison import DEATHS_MAX, is_poison
from tests.model.checker import assert_broken, assert_clean
from tests.model.hints import HintModel
from tests.model.poison import PoisonModel, PoisonRules
from tests.model.recall import RecallModel, RecallRules
from tests.model.starts import Policy, StartModel, StartRules

WEDGE = "can never end"


def test_h08_hints_made_again_by_age_alone_grow_without_bound() -> None:
    """Two runs, no worker for six sweeps, one lost hint."""
    assert_broken(HintModel(only_when_gone=False), "hints for 2 runs")
    assert assert_clean(HintModel()).exhaustive


def test_h09_a_poison_task_does_not_kill_innocents() -> None:
    """One poison and two innocents share a worker; the limits are those of `aiki_server.core.poison`."""
    assert_broken(PoisonModel(rules=PoisonRules(suspects_run_alone=False)), "is innocent")
    assert assert_clean(PoisonModel()).exhaustive


def test_h09_a_wrong_expiry_is_no_suspicion_that_counts() -> None:
    """Five wrong expiries; the product does not count them once the worker is back."""
    rules = PoisonRules(mistakes_do_not_count=False)
    assert_broken(PoisonModel(rules=rules, mistakes=5), "is innocent")
    assert assert_clean(PoisonModel(mistakes=5)).exhaustive
    deaths = [f"worker.{number}" for number in range(DEATHS_MAX)]
    assert is_poison(deaths, returned=[])
    assert not is_poison(deaths, returned=deaths[:1])


def test_h11_a_repeated_start_finds_its_run_before_any_policy() -> None:
    """A start and a signal, each sent twice; a run that closes or continues."""
    rules = StartRules(id_derived=False)
    assert_broken(StartModel(policy=Policy.REPLACE_CLOSED, rules=rules), "started two runs")
    assert_broken(StartModel(policy=Policy.REJECT, rules=rules), "its own run")
    for policy in Policy:
        assert assert_clean(StartModel(policy=policy)).exhaustive


def test_h11_a_repeated_signal_is_known_to_the_whole_chain() -> None:
    """The run may have continued as new between the two."""
    rules = StartRules(seen_of_workflow=False)
    assert_broken(StartModel(policy=Policy.REJECT, rules=rules), "delivered twice")
    assert assert_clean(StartModel(policy=Policy.REJECT)).exhaustive


def test_h11_a_repeat_is_a_repeat_even_when_the_run_has_closed() -> None:
    """Seen is looked at before the state."""
    rules = StartRules(seen_before_closed=False)
    assert_broken(StartModel(policy=Policy.REJECT, rules=rules), "was not taken")
    assert assert_clean(StartModel(policy=Policy.REJECT)).exhaustive


def test_h11_a_workflow_id_is_resolved_where_the_signal_is_delivered() -> None:
    """The run continues as new between look-up and delivery."""
    rules = StartRules(resolves_in_script=False)
    assert_broken(StartModel(policy=Policy.REJECT, rules=rules), "a chain that goes on")
    assert assert_clean(StartModel(policy=Policy.REJECT)).exhaustive


def test_h16_a_recall_that_names_no_lease_makes_a_task_run_twice() -> None:
    """One recall, as slow as it likes."""
    assert_broken(RecallModel(rules=RecallRules(names_lease=False)), "ran twice")
    assert assert_clean(RecallModel()).exhaustive


def test_h16_a_yes_to_a_recall_that_is_lost_must_not_keep_the_lease() -> None:
    """One lost message."""
    rules = RecallRules(answer_is_release=False)
    assert_broken(RecallModel(rules=rules, losses=1), WEDGE)
    assert assert_clean(RecallModel(losses=1)).exhaustive


def test_h16_being_leased_is_not_being_started() -> None:
    """Its worker dies before the task has begun."""
    rules = RecallRules(start_acknowledged=False)
    assert_broken(RecallModel(rules=rules, at_most_once=True, crashes=1), "nobody had said")
    assert assert_clean(RecallModel(at_most_once=True, crashes=1)).exhaustive


@pytest.mark.parametrize("at_most_once", [False, True])
def test_h16_all_rules_together(at_most_once: bool) -> None:
    """A recall, a crash and a wrong expiry at once."""
    model = RecallModel(losses=1, crashes=1, expiries=1, at_most_once=at_most_once)
    assert assert_clean(model).exhaustive
