"""Model B: effects between partitions arrive once, in order, and are not lost (H6, H7 d).

These tests are of the rules; the product's scripts and loops are tested in tests/store and tests/system. All states
of each configuration are explored.
"""

import pytest

from tests.model.checker import assert_broken, assert_clean
from tests.model.outbox import OutboxModel, OutboxRules

WEDGE = "can never end"


def test_h06_two_relayers_may_tell_two_stories_of_one_start() -> None:
    """A refusal that is not recorded is undone when the workflow id becomes free; no fault."""
    rules = OutboxRules(refusal_recorded=False)
    assert_broken(OutboxModel(rules=rules), "the parent was told that its child failed")
    assert assert_clean(OutboxModel()).exhaustive


def test_h06_a_signal_that_overtakes_the_start_is_lost() -> None:
    """Entries for one target are relayed in order; no fault."""
    assert_broken(OutboxModel(rules=OutboxRules(in_order=False)), "the signal was dropped")
    assert assert_clean(OutboxModel()).exhaustive


def test_h06_a_start_relayed_twice_is_a_repeat() -> None:
    """A relayer that dies after the start leaves it to another; two crashes."""
    rules = OutboxRules(child_id_derived=False)
    assert_broken(OutboxModel(rules=rules, crashes=2), "the parent was told that its child failed")
    assert assert_clean(OutboxModel(crashes=2)).exhaustive


def test_h06_a_childs_result_follows_a_parent_that_continued() -> None:
    """The result goes to the chain's current run; one crash."""
    rules = OutboxRules(follows_chain=False)
    assert_broken(OutboxModel(rules=rules, continues=True, crashes=1), WEDGE)
    assert assert_clean(OutboxModel(continues=True, crashes=1)).exhaustive


def test_h07_a_lost_effect_is_sent_again_after_a_failover() -> None:
    """The child's partition loses writes; wedges alone are looked for after that."""
    assert_broken(OutboxModel(rules=OutboxRules(reconcile=False), failovers=1), WEDGE)
    assert assert_clean(OutboxModel(failovers=1)).exhaustive


def test_h07_a_start_refused_after_a_failover_ends_the_child() -> None:
    """The child is rolled back, and its workflow id is somebody else's when it is sent again."""
    assert_broken(OutboxModel(rules=OutboxRules(refusal_ends_open=False), failovers=1), WEDGE)
    assert assert_clean(OutboxModel(failovers=1)).exhaustive


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_h06_h07_together_for_long() -> None:
    """Crashes, a failover and a parent that continues at once."""
    assert_clean(OutboxModel(crashes=2, failovers=2, continues=True), states_max=1_000_000)
