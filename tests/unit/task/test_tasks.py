"""Tasks: made by the decorator, called in a run and outside one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from aiki_task import (
    DefinitionError,
    DurationError,
    NotInRunError,
    PayloadTypeError,
    Retry,
    Task,
    TaskContext,
    UnsupportedTypeError,
    context,
    current_task,
    task,
)
from aiki_task.payloads import Payload, ValueCodec

if TYPE_CHECKING:
    from collections import OrderedDict


@task
async def forward(order: Later) -> list[Later]:
    """Its hints are defined below."""
    return [order]


@dataclass
class Later:
    id: str
    parent: Later | None = None


class Reading(BaseModel):
    value: float
    note: str | None = None


@task
def where() -> int:
    """A sync task."""
    return threading.get_ident()


def test_a_timeout_can_be_taken_away() -> None:
    """What is not given stays; None is without limit."""

    @task(timeout="5s", total_timeout="1m")
    async def limited() -> None: ...

    free = limited.with_(timeout=None)

    assert free.options.timeout is None
    assert free.options.total_timeout == timedelta(minutes=1)
    assert free.with_(total_timeout=None).options.total_timeout is None


def test_defaults() -> None:
    """As design.md has them."""
    assert forward.name == "forward"
    assert forward.is_async
    assert not where.is_async
    options = forward.options
    assert (options.retry, options.timeout, options.total_timeout) == (Retry(3), timedelta(minutes=10), None)
    assert (options.raises, options.queue, options.remote, options.key) == ((), None, False, None)


def test_with_changes_only_what_is_given() -> None:
    """And leaves the task it was made of as it was."""
    changed = where.with_(key="k", timeout="5s", queue="cpu", remote=True)

    assert (changed.options.key, changed.options.timeout) == ("k", timedelta(seconds=5))
    assert changed.options.retry is where.options.retry
    assert changed.function is where.function
    assert where.options.key is None


async def test_outside_a_run_a_sync_task_runs_in_a_thread() -> None:
    """It must not block the loop."""
    assert await where() != threading.get_ident()
    assert where.function() == threading.get_ident()


class RunLoop(asyncio.SelectorEventLoop):
    """A loop that makes calls durable: it answers them itself."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str | None, Sequence[object], Mapping[str, object]]] = []

    def schedule_task(
        self, called: Task[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Awaitable[Any]:
        self.calls.append((called.name, called.options.key, args, kwargs))
        answer: asyncio.Future[object] = self.create_future()
        answer.set_result("recorded")
        return answer


def test_in_a_run_the_call_goes_to_its_loop() -> None:
    """With the options of the call; at the first await, not before."""
    loop = RunLoop()

    async def run() -> object:
        call = where.with_(key="k")()
        assert loop.calls == []
        return await call

    try:
        assert loop.run_until_complete(run()) == "recorded"
    finally:
        loop.close()
    assert loop.calls == [("where", "k", (), {})]


def test_forward_references_resolve_at_first_use() -> None:
    """The decorator ran before `Later` was there."""
    value = Later("a", Later("b"))

    args, _ = forward.arguments.decode(forward.arguments.encode((value,), {}))

    assert args == [value]
    assert forward.result.decode(forward.result.encode([value])) == [value]


def test_unsupported_hint_written_as_text_fails_at_decoration() -> None:
    """`from __future__ import annotations` does not put it off."""
    with pytest.raises(UnsupportedTypeError, match="argument 'lock' of task 'broken'"):

        @task
        async def broken(lock: threading.Thread) -> None: ...


def test_unsupported_result_fails_at_decoration() -> None:
    """Results are encoded as well."""
    with pytest.raises(UnsupportedTypeError, match="result of task 'broken'"):

        @task
        async def broken() -> threading.Thread:
            return threading.current_thread()


def test_a_name_that_is_never_defined_is_told_at_first_use() -> None:
    """It may have been about to come, until then."""

    @task
    async def unresolved(value: OrderedDict[str, int]) -> None: ...

    with pytest.raises(UnsupportedTypeError, match=r"OrderedDict.*does not define"):
        unresolved.arguments.encode(({},), {})


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "1st", "a b", "x" * 201, "<lambda>"])
def test_names_that_would_not_make_an_address_are_refused(name: str) -> None:
    """Names stand in addresses and in keys of the store."""

    async def work() -> None: ...

    with pytest.raises(DefinitionError, match="cannot name a task"):
        task(name=name)(work)


def test_what_is_no_function_is_refused() -> None:
    """Generators and classes among them."""

    async def generate() -> Any:
        yield 1

    wrong: Any
    for wrong in (generate, Later, 5):
        with pytest.raises(DefinitionError):
            task(wrong)


def test_bad_timeouts_fail_at_decoration() -> None:
    """Not when the task is first called."""
    with pytest.raises(DurationError):
        task(timeout="soon")


def test_current_task_is_that_of_the_attempt() -> None:
    """And an error outside one; the idempotency key is the same for each attempt."""
    with pytest.raises(NotInRunError, match="inside a task"):
        current_task()

    def attempt(number: int) -> str:
        context.enter(
            TaskContext(run_id="3-a", workflow_id="w", address="t/x/1", attempt=number, deadline_ms=None)
        )
        assert current_task().attempt == number
        return current_task().idempotency_key

    assert {copy_context().run(attempt, number) for number in (1, 2)} == {"3-a/t/x/1"}


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_models_do_not_turn_nan_into_null(value: float) -> None:
    """Their own encoding would, in silence."""
    with pytest.raises(PayloadTypeError, match="not a number that JSON has"):
        ValueCodec(Reading, "it").encode(Reading(value=value))


@pytest.mark.parametrize(
    "data", [b"NaN", b'{"args":[NaN],"kwargs":{}}', b"[" * 100_000, b"5", b"{}", b"\xff"]
)
def test_broken_arguments_are_refused(data: bytes) -> None:
    """Whatever another language's worker sends."""
    with pytest.raises(PayloadTypeError):
        forward.arguments.decode(Payload(data))


@pytest.mark.parametrize("data", [b"", b"NaN", b'{"value":1},{"value":2}', b"[" * 100_000, b'{"value":"x"}'])
def test_broken_values_are_refused(data: bytes) -> None:
    """A result that does not fit is no result."""
    with pytest.raises(PayloadTypeError):
        ValueCodec(Reading, "it").decode(Payload(data))


@pytest.mark.parametrize("value", [object(), {1: "a"}, [threading.Lock()], "\ud800"])
def test_what_has_no_json_is_refused_where_there_is_no_hint(value: object) -> None:
    """Rather than sent as something else."""
    with pytest.raises(PayloadTypeError):
        ValueCodec(Any, "it").encode(value)


def test_values_that_hold_themselves_are_refused() -> None:
    """They have no end."""
    endless: list[Any] = []
    endless.append(endless)

    for hint in (Any, list[Any]):
        with pytest.raises(PayloadTypeError):
            ValueCodec(hint, "it").encode(endless)


def test_importing_and_defining_is_light() -> None:
    """The usual hints need no pydantic either, and asyncio waits for a call."""
    program = (
        "import sys\nfrom dataclasses import dataclass\nfrom datetime import datetime\n"
        "from aiki_task import task\n"
        "@dataclass\nclass A:\n    tags: set[str]\n    when: datetime | None = None\n"
        "@task\nasync def f(a: A, b: dict[str, list[A]]) -> tuple[int, ...]: ...\n"
        "print([name for name in ('pydantic', 'pydantic_core', 'asyncio', 'grpc') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert finished.stdout == "[]\n"
