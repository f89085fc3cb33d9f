"""Equal arguments are one address in every process; other arguments are another."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel

from aiki_task import PayloadTypeError, task
from aiki_task.payloads import ValueCodec


@dataclass(frozen=True)
class Inner:
    tags: frozenset[str] = frozenset()


@dataclass
class Nested:
    groups: set[frozenset[str]]
    inner: Inner
    loose: Any = None
    by_name: dict[str, set[int]] = field(default_factory=dict)


class Model(BaseModel):
    tags: set[str]
    nested: list[Inner] = []


@task
async def plain(order_id: str, amount: int = 1, factor: float = 1.0) -> None: ...


@task
async def wide(value: Any, /, *rest: dict[str, int], **named: Any) -> tuple[Any, ...]:
    return value, rest, named


SEEDS_PROGRAM = """
from typing import Any
from aiki_task.payloads import ValueCodec
from tests.unit.task.test_addresses import Inner, Model, Nested, wide
words = {"a", "b", "c", "d", "e", "f"}
nested = Nested(
    groups={frozenset(words), frozenset({"x", "y", "z"})}, inner=Inner(frozenset(words)), loose={"k": words}
)
model = Model(tags=words, nested=[Inner(frozenset(words))])
for hint, value in [(Nested, nested), (Model, model), (Any, [words, nested, model]), (list[Model], [model])]:
    print(ValueCodec(hint, "it").encode(value).data.decode())
print(wide.arguments.encode_call((nested, {"b": 1, "a": 2}), {"x": words}))
"""


def test_sets_are_sorted_wherever_they_stand() -> None:
    """In dataclasses, in models, in sets, and where there is no hint: hash seeds change nothing."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SEEDS_PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }

    assert len(outputs) == 1


@given(st.permutations(["a", "b", "c", "d"]))
def test_order_of_keys_does_not_count(keys: list[str]) -> None:
    """Two dicts that are equal are one address, although the payload keeps their order."""
    given_dict = {key: {"n": ord(key)} for key in keys}
    same = {key: {"n": ord(key)} for key in "abcd"}

    assert wide.arguments.address_hash((given_dict,), {}) == wide.arguments.address_hash((same,), {})


@given(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_how_an_argument_was_passed_does_not_count(order_id: str, amount: int, factor: float) -> None:
    """By position, by name, or left out when it is the default."""
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((order_id, amount, factor), {}),
        ((order_id, amount), {"factor": factor}),
        ((), {"factor": factor, "amount": amount, "order_id": order_id}),
    ]
    if (amount, factor) == (1, 1.0):
        calls.append(((order_id,), {}))

    assert len({plain.arguments.address_hash(args, kwargs) for args, kwargs in calls}) == 1


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("a", 1), {}), (("a", 1, 1.0), {}), (("a",), {"factor": 1}), (("a",), {"amount": 1})],
)
def test_defaults_spelled_out_do_not_count(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """The short way of encoding and the long one agree."""
    assert plain.arguments.address_hash(args, kwargs) == plain.arguments.address_hash(("a",), {})


def test_defaults_are_compared_by_what_is_encoded() -> None:
    """True equals 1 in Python, but is another argument."""

    @task
    async def take(value: Any = (1,)) -> None: ...

    assert take.arguments.address_hash(((True,),), {}) != take.arguments.address_hash((), {})
    assert take.arguments.address_hash(([1],), {}) == take.arguments.address_hash((), {})


def test_a_name_may_be_both_positional_and_named() -> None:
    """`f(1, value=2)` passes both to `def f(value, /, **named)`."""
    payload = wide.arguments.encode((1,), {"value": 2})

    assert wide.arguments.decode(payload) == ([1], {"value": 2})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    json_values,
    st.lists(st.dictionaries(st.text(), st.integers()), max_size=3),
    st.dictionaries(st.text(), json_values, max_size=3),
)
def test_whatever_is_json_makes_the_round_trip(
    value: Any, rest: list[dict[str, int]], named: dict[str, Any]
) -> None:
    """Positional, variadic and named."""
    payload = wide.arguments.encode((value, *rest), named)

    assert wide.arguments.decode(payload) == ([value, *rest], named)


@given(json_values, json_values)
def test_address_tells_arguments_apart(one: Any, other: Any) -> None:
    """Two addresses are equal when what is encoded is equal, and only then."""
    codec = ValueCodec(Any, "it")
    alike = codec.encode([one]).data == codec.encode([other]).data

    if alike or one != other:
        same = wide.arguments.address_hash((one,), {}) == wide.arguments.address_hash((other,), {})
        assert same is alike


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("a", 1, 1.0, 4), {}), (("a",), {"order_id": "b"}), (("a",), {"unknown": 1})],
)
def test_what_does_not_bind_is_refused(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """With the sentence Python has for it, and the task's name."""
    with pytest.raises(PayloadTypeError, match="task 'plain'"):
        plain.arguments.encode(args, kwargs)
