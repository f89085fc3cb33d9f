"""Values become bytes by their type hints, and the same bytes everywhere."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, strategies as st
from typing_extensions import TypedDict

from aiki_task import PayloadTooLargeError, PayloadTypeError, UnsupportedTypeError, task
from aiki_task.payloads import PAYLOAD_BYTES_MAX, ValueCodec


class Colour(Enum):
    RED = "red"


class Point(TypedDict):
    x: int
    y: int


@dataclass(frozen=True)
class Order:
    id: str
    tags: frozenset[str]
    raw: bytes
    when: datetime
    price: Decimal
    colour: Colour


ORDER = Order(
    "o-1", frozenset({"b", "a"}), b"\xff\x00", datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.10"), Colour.RED
)


@task
async def buy(order_id: str, amount: int = 1, *tags: str, note: str = "", **extra: int) -> str:
    return f"{order_id}{amount}{tags}{note}{extra}"


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Order, ORDER),
        (list[Order], [ORDER]),
        (Point, {"x": 1, "y": 2}),
        (Order | None, None),
        (dict[str, tuple[int, str]], {"a": (1, "b")}),
        (set[int], {3, 1, 2}),
        (bytes, b"\x00\xff"),
        (Any, {"nested": [1, "a", None, True]}),
    ],
)
def test_round_trip(hint: Any, value: object) -> None:
    """What was encoded is decoded, as the hinted type."""
    codec = ValueCodec(hint, "it")

    assert codec.decode(codec.encode(value)) == value


def test_bytes_are_raw_at_top_level() -> None:
    """No base64 for the common case of a blob."""
    assert ValueCodec(bytes, "it").encode(b"\xff").data == b"\xff"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("hint", "wrap"), [(float, lambda v: v), (list[float], lambda v: [v]), (Any, lambda v: [v])]
)
def test_what_json_does_not_have_is_refused(hint: Any, wrap: Any, value: float) -> None:
    """NaN and infinity never become null in silence."""
    with pytest.raises(PayloadTypeError):
        ValueCodec(hint, "it").encode(wrap(value))


def test_misfit_names_the_argument() -> None:
    """The sentence says which argument, of what, and what came."""
    with pytest.raises(PayloadTypeError, match=r"argument 'amount' of task 'buy'.*integer.*str"):
        buy.arguments.encode(("o-1", "many"), {})


def test_limit() -> None:
    """A payload over the limit is refused before it is sent."""
    with pytest.raises(PayloadTooLargeError, match="2,097,152"):
        ValueCodec(str, "it").encode("x" * PAYLOAD_BYTES_MAX)


def test_unsupported_hint_fails_at_decoration() -> None:
    """Not at the first call, months later."""
    with pytest.raises(UnsupportedTypeError, match="cannot be encoded"):

        @task
        def broken(connection: Any | object | type[int] | memoryview) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("o-1", 2), {}),
        (("o-1",), {"amount": 2}),
        ((), {"amount": 2, "order_id": "o-1"}),
        (("o-1", 2), {"note": ""}),
    ],
)
def test_address_is_that_of_the_bound_arguments(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """By position, by name, or with a default spelled out: the same call."""
    assert buy.arguments.encode_call(args, kwargs)[1] == buy.arguments.encode_call(("o-1", 2), {})[1]


def test_address_differs_for_other_arguments() -> None:
    """Another argument is another call."""
    hashes = {
        buy.arguments.encode_call(args, kwargs)[1]
        for args, kwargs in [
            (("a",), {}),
            (("b",), {}),
            (("a", 2), {}),
            (("a", 1, "t"), {}),
            (("a",), {"z": 1}),
        ]
    }

    assert len(hashes) == 5


@given(
    st.text(),
    st.integers(),
    st.lists(st.text()),
    st.dictionaries(st.from_regex(r"k[a-z]{1,5}", fullmatch=True), st.integers()),
)
def test_arguments_round_trip(order_id: str, amount: int, tags: list[str], extra: dict[str, int]) -> None:
    """Whatever a call passes, the function receives."""
    payload = buy.arguments.encode((order_id, amount, *tags), extra)

    assert buy.arguments.decode(payload) == ([order_id, amount, *tags], extra)


@dataclass
class Line:
    """A line of an order."""

    name: str
    count: int


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        (Line, Line(name=1, count=1), "name: Input should be str (got int)"),  # type: ignore[arg-type]  # it is the mistake
        (Any, object(), "a plain object has no JSON"),
        (list[Any], [object()], "a plain object has no JSON"),
        (list[int], ["x"], "0: Input should be a valid integer (got str)"),
    ],
)
def test_a_misfit_says_where_and_what(hint: Any, value: object, reason: str) -> None:
    """In one line, without the value, which may be secret."""
    with pytest.raises(PayloadTypeError) as caught:
        ValueCodec(hint, "it").encode(value)

    assert str(caught.value).endswith(reason)


def test_sets_encode_alike_in_every_process() -> None:
    """Hash seeds differ between processes; bytes do not."""
    program = (
        "from aiki_task.payloads import ValueCodec\n"
        "print(ValueCodec(set[str], 'it').encode({'a', 'b', 'c', 'd', 'e'}).data.decode())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert outputs == {'["a","b","c","d","e"]\n'}


def test_importing_does_not_import_pydantic() -> None:
    """Authors' modules import fast."""
    program = (
        "import sys\nfrom aiki_task import task\n"
        "@task\nasync def f(a: int, b: str) -> float: ...\n"
        "print('pydantic' in sys.modules, 'grpc' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert finished.stdout == "False False\n"
