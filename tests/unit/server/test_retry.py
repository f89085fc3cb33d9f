"""When a failed attempt of a remote task is made again."""

from hypothesis import given, strategies as st

from aiki.v1.common_pb2 import RetryPolicy
from aiki_server.core.retry import next_delay_ms


def policy(**options: object) -> RetryPolicy:
    """At most 4 attempts, 1 s, 2 s, 4 s …, never more than 3 s, no jitter, unless *options* say otherwise."""
    made = RetryPolicy(**{"attempts_max": 4, "factor": 2, "non_retryable": ["Fatal"], **options})  # type: ignore[arg-type]  # any field
    made.first_delay.FromSeconds(1)
    made.max_delay.FromSeconds(3)
    return made


def test_delays_grow_to_their_limit() -> None:
    """Exponentially, until the attempts are used up."""
    delays = [next_delay_ms(policy(), made, "OSError", 0.0) for made in (1, 2, 3, 4)]

    assert delays == [1000, 2000, 3000, None]


def test_some_errors_are_not_tried_again() -> None:
    """Those the policy names."""
    assert next_delay_ms(policy(), 1, "Fatal", 0.0) is None


def test_zero_attempts_are_without_limit() -> None:
    """And the power does not overflow."""
    assert next_delay_ms(policy(attempts_max=0), 1_000_000, "OSError", 0.0) == 3000


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.floats(0, 10))
def test_jitter_only_shortens(made: int, random: float, jitter: float, factor: float) -> None:
    """By at most its part, so that many tasks that failed at once come back apart."""
    least = next_delay_ms(policy(attempts_max=0, factor=factor, jitter=jitter), made, "E", random)
    most = next_delay_ms(policy(attempts_max=0, factor=factor), made, "E", random)

    assert least is not None
    assert most is not None
    assert most * (1 - jitter) - 1 <= least <= most <= 3000
