"""When workers are replaced, and what they are called."""

import pytest
from click import Context

from aiki_worker.command import _arguments_of, worker  # pyright: ignore[reportPrivateUsage]
from aiki_worker.supervisor import Restarts, commands_of


def test_one_that_keeps_dying_waits_longer_each_time() -> None:
    """Up to a limit; one that has lived for a while begins anew."""
    restarts = Restarts()

    assert [restarts.delay_s(-9, 0.5) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert restarts.delay_s(-9, 11) == 1
    assert restarts.delay_s(-9, 0) == 2


@pytest.mark.parametrize("status", [1, 2])
def test_one_that_cannot_start_is_not_replaced(status: int) -> None:
    """Unless it has worked before: then it is a passing trouble."""
    assert Restarts().delay_s(status, 0.5) is None

    settled = Restarts()
    assert settled.delay_s(-11, 60) == 1
    assert settled.delay_s(status, 0.5) == 2


@pytest.mark.parametrize("status", [0, 3, 70, -9])
def test_all_others_are(status: int) -> None:
    """Drained by somebody, without a resource, stuck, killed."""
    assert Restarts().delay_s(status, 0) == 1


def test_each_has_a_name_and_a_port() -> None:
    """Port 0 takes a free one for each."""
    two = commands_of(["shop"], processes=2, identity="here:7", http="127.0.0.1:7702")
    free = commands_of(["shop"], processes=2, identity="here:7", http="[::1]:0")

    assert two[0] == ["shop", "--processes", "1", "--identity", "here:7/1", "--http", "127.0.0.1:7702"]
    assert two[1] == ["shop", "--processes", "1", "--identity", "here:7/2", "--http", "127.0.0.1:7703"]
    assert free[1][-2:] == ["--http", "[::1]:0"]
    assert "--http" not in commands_of(["shop"], processes=1, identity="i", http="")[0]


def test_workers_get_the_options_of_the_command() -> None:
    """All but those that are their own."""
    given = ["shop", "billing", "--queue", "a", "--queue", "b", "--slots", "3", "--processes", "2"]
    with Context(worker) as context:
        worker.parse_args(context, [*given, "--identity", "me", "--exit-with-parent"])

        passed = _arguments_of(context)

    assert passed[:2] == ["shop", "billing"]
    assert sorted(zip(passed[2::2], passed[3::2], strict=True)) == [
        ("--queue", "a"),
        ("--queue", "b"),
        ("--slots", "3"),
    ]
