"""What is said of a cluster, given the facts."""

from dataclasses import replace

import pytest

from aiki_server.core.diagnosis import Facts, Seen, Severity, findings_of

SEEN = Seen(coordinators=2, sessions=3, served=5, stalled=0, late_ms=0)
WELL = Facts(store_problems=(), is_nearly_full=False, is_draining=False, clock_ahead_ms=3.0, seen=SEEN)


def bad(facts: Facts) -> list[tuple[Severity, str]]:
    return [(item.severity, item.subject) for item in findings_of(facts) if item.severity is not Severity.OK]


def test_all_is_well() -> None:
    """Nothing needs to be done, and everything that was looked at is named."""
    findings = findings_of(WELL)

    assert bad(WELL) == []
    assert [item.subject for item in findings] == [
        *("store", "memory", "clock", "coordinators", "workers", "timers", "stalled")
    ]
    assert not any(item.advice for item in findings)


@pytest.mark.parametrize(
    ("facts", "severity", "subject", "says"),
    [
        (replace(WELL, is_nearly_full=True), Severity.PROBLEM, "memory", "maxmemory"),
        (replace(WELL, is_draining=True), Severity.WARNING, "coordinator", "another"),
        (replace(WELL, clock_ahead_ms=-5000.0), Severity.WARNING, "clock", "5.0 s behind"),
        (replace(WELL, clock_ahead_ms=5000.0), Severity.WARNING, "clock", "5.0 s ahead of"),
        (replace(WELL, seen=replace(SEEN, sessions=0, served=0)), Severity.WARNING, "workers", "aiki worker"),
        (replace(WELL, seen=replace(SEEN, served=0)), Severity.WARNING, "workers", "--namespace"),
        (replace(WELL, seen=replace(SEEN, stalled=7)), Severity.WARNING, "stalled", "7"),
        (replace(WELL, seen=replace(SEEN, late_ms=30_000)), Severity.PROBLEM, "timers", "30 s late"),
    ],
)
def test_each_trouble_has_a_finding_with_advice(
    facts: Facts, severity: Severity, subject: str, says: str
) -> None:
    """It alone is not ok, and says what to do."""
    assert bad(facts) == [(severity, subject)]
    (found,) = (item for item in findings_of(facts) if item.severity is not Severity.OK)
    assert says in f"{found.message} {found.advice}"
    assert found.advice


def test_a_store_that_does_not_answer_tells_nothing_else() -> None:
    """No guess is made of what it would have said; each of its problems is a finding."""
    facts = replace(WELL, store_problems=("It is gone.", "It evicts."), seen=None)

    assert bad(facts) == [(Severity.PROBLEM, "store")] * 2
    assert "workers" not in {item.subject for item in findings_of(facts)}
