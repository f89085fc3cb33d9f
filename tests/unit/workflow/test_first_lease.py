"""A run that nobody has run code for yet is live from its first event on, whatever else has come already."""

import pytest

from aiki_task.payloads import Payload
from aiki_workflow import events, patched, signal, workflow
from tests.unit.workflow.driver import make_engine, started

hurry = signal("hurry", str)


@workflow
async def impatient() -> str:
    """Branches before it takes the signal that came with its start."""
    branch = "new" if patched("branch") else "old"
    return f"{branch} {await hurry.wait()}"


@pytest.mark.parametrize(("executed", "branch"), [(0, "new"), (None, "old")])
def test_the_first_turn_of_a_new_run_is_live(executed: int | None, branch: str) -> None:
    """So it takes the new branch of a change; in one that was run before, it does not."""
    engine = make_engine(impatient)
    history: list[events.Event] = [
        started(impatient),
        events.SignalReceived(1_000_001, "hurry", Payload(b'"now"', "json")),
    ]

    commands = engine.replay(history, executed=executed)

    ending = commands[-1]
    assert isinstance(ending, events.RunCompleted)
    assert ending.output.data == f'"{branch} now"'.encode()
