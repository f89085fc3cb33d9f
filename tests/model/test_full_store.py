"""H18: a full store takes nothing new and lets everything end. The flags are those of the product's scripts."""

import pytest

from aiki_server.store.scripts import all_scripts
from tests.model.checker import assert_broken, assert_clean
from tests.model.full_store import NEEDED, FullModel

ALLOWED = frozenset(script.name for script in all_scripts() if "allow-oom" in script.text.partition("\n")[0])


def test_h18_what_was_accepted_can_end_in_a_full_store() -> None:
    """The model with the flags of the real scripts; all states. Renewals and plain commands are left out."""
    assert assert_clean(FullModel(allowed=ALLOWED)).exhaustive


@pytest.mark.parametrize("name", NEEDED)
def test_h18_each_script_that_ends_something_is_needed(name: str) -> None:
    """The model without one script; all states."""
    assert_broken(FullModel(allowed=ALLOWED - {name}), "can never end")


@pytest.mark.parametrize("name", ["start", "deliver"])
def test_h18_what_is_new_is_refused(name: str) -> None:
    """Real code: the flags of the scripts that only add."""
    assert name not in ALLOWED
