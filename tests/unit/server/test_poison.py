"""Who is blamed for a worker's death."""

from hypothesis import given, strategies as st

from aiki_server.core.poison import DEATHS_MAX, is_mass, is_poison

INCARNATIONS = st.frozensets(st.integers(0, 9).map(str))


@given(INCARNATIONS, INCARNATIONS)
def test_only_real_deaths_count(deaths: frozenset[str], returned: frozenset[str]) -> None:
    """A worker that came back died of nothing; the same death told twice is one."""
    told = [*deaths, *deaths]

    assert is_poison(told, returned) == (len(deaths - returned) >= DEATHS_MAX)


def test_many_at_once_are_nobodys_fault() -> None:
    """One is never many; half of the cluster is."""
    assert not is_mass(1, 1)
    assert not is_mass(2, 5)
    assert is_mass(2, 4)
    assert is_mass(3, 3)
