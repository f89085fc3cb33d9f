"""Workflows that are classes: an entry method, and methods that others call while the run lives.

@workflow
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []

    @main
    async def run(self) -> list[str]: ...

    @query
    def count(self) -> int: ...

    @update
    async def add(self, item: str) -> int: ...

    @add.validator
    def check_item(self, item: str) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast, overload

from aiki_task.errors import DefinitionError
from aiki_task.hints import resolved_hints
from aiki_task.payloads import ArgumentsCodec, ValueCodec

if TYPE_CHECKING:
    from aiki_workflow.definition import Workflow

WORKFLOW_ATTRIBUTE: Final = "__aiki_workflow__"
"""Where a class marked `@workflow` keeps its definition."""

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


class MainMethod(Generic[S, P, R]):
    """The entry method of a workflow class; made by `@main`. On the class it is the `Workflow`."""

    def __init__(self, function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type, /) -> Workflow[P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type | None = None, /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        if instance is not None:
            return partial(self.function, instance)
        # Each class has its own, also when it inherits the method.
        workflow = vars(owner).get(WORKFLOW_ATTRIBUTE)
        if workflow is None:
            name = "nothing" if owner is None else owner.__name__
            raise DefinitionError(f"class {name!r} is not marked @workflow")
        return workflow


class _Method(Generic[P, R]):
    """What queries and updates have in common: P without `self`."""

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.is_async = inspect.iscoroutinefunction(function)
        self.where = f"{what} {self.name!r}"
        self.arguments = ArgumentsCodec(function, self.where, skip=1)
        self._result: ValueCodec | None = None

    @property
    def result(self) -> ValueCodec:
        """How results are encoded."""
        if self._result is None:
            hints = resolved_hints(self.function, self.where)
            self._result = ValueCodec(hints.get("return", Any), f"the result of {self.where}")
        return self._result

    def __repr__(self) -> str:
        return f"<{self.where}>"


class Query(_Method[P, R]):
    """A question to a run that changes nothing, as a client asks it: `Cart.count`."""


class Update(_Method[P, R]):
    """A request into a run, as a client sends it: `Cart.add`.

    Attributes:
        id: names the request: a repeat gets the same answer; None: a generated one.
    """

    id: str | None = None

    def with_(self, *, id: str) -> Update[P, R]:  # noqa: A002  the field's word
        """The same update under a name of your own."""
        other: Update[P, R] = Update[P, R].__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.id = id
        return other


class QueryMethod(Generic[S, P, R]):
    """A query in its class; made by `@query`."""

    def __init__(self, function: Callable[Concatenate[S, P], R]) -> None:
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(f"query {function.__name__!r} must be a plain `def`: it only looks")
        self.function = function
        self.query: Query[P, R] = Query(function, "query")
        self.arguments = self.query.arguments
        self.__doc__ = function.__doc__

    @property
    def result(self) -> ValueCodec:
        """How results are encoded."""
        return self.query.result

    @overload
    def __get__(self, instance: None, owner: type, /) -> Query[P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type | None = None, /) -> Callable[P, R]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        return self.query if instance is None else partial(self.function, instance)


class UpdateMethod(Generic[S, P, R]):
    """An update in its class; made by `@update`."""

    def __init__(self, function: Callable[Concatenate[S, P], Any]) -> None:
        self.function = function
        self.update: Update[P, R] = Update(function, "update")
        self.arguments = self.update.arguments
        self.is_async = self.update.is_async
        self.validate: Callable[..., None] | None = None
        self.__doc__ = function.__doc__

    @property
    def result(self) -> ValueCodec:
        """How results are encoded."""
        return self.update.result

    def validator(self, function: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
        """Decide, before anything is recorded, whether the update is accepted: raise to reject it.

        It takes the same arguments, looks at the run and changes nothing.

        Raises:
            DefinitionError: it is async, or has other parameters.
        """
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(f"validator {function.__name__!r} must be a plain `def`: it only looks")
        mine, its = inspect.signature(self.function), inspect.signature(function)
        if list(mine.parameters) != list(its.parameters):
            raise DefinitionError(
                f"validator {function.__name__!r} must have the parameters of update {self.update.name!r}"
            )
        self.validate = function
        return function

    @overload
    def __get__(self, instance: None, owner: type, /) -> Update[P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type | None = None, /) -> Callable[P, Any]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        return self.update if instance is None else partial(self.function, instance)


def main(function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> MainMethod[S, P, R]:
    """Mark the entry method of a workflow class.

    Raises:
        DefinitionError: it is not async.
    """
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{function.__qualname__} must be `async def` to be the main method")
    return MainMethod(function)


def query(function: Callable[Concatenate[S, P], R]) -> QueryMethod[S, P, R]:
    """Mark a method that answers questions about the run, and changes nothing."""
    return QueryMethod(function)


@overload
def update(function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> UpdateMethod[S, P, R]: ...
@overload
def update(function: Callable[Concatenate[S, P], R]) -> UpdateMethod[S, P, R]: ...
def update(function: Callable[Concatenate[S, P], Any]) -> UpdateMethod[S, P, Any]:
    """Mark a method that others call to change the run; it may be async and durable."""
    return UpdateMethod(function)


def methods_of(
    owner: type,
) -> tuple[
    MainMethod[Any, ..., Any], dict[str, QueryMethod[Any, ..., Any]], dict[str, UpdateMethod[Any, ..., Any]]
]:
    """The main method, queries and updates of a workflow class, those it inherits included.

    Raises:
        DefinitionError: it has not exactly one main method, or its `__init__` needs arguments.
    """
    found: dict[str, object] = {}
    for base in reversed(owner.__mro__):
        found.update(vars(base))
    mains: list[MainMethod[Any, ..., Any]] = [
        cast("MainMethod[Any, ..., Any]", value) for value in found.values() if isinstance(value, MainMethod)
    ]
    if len(mains) != 1:
        raise DefinitionError(
            f"workflow class {owner.__name__!r} needs one method marked @main, has {len(mains)}"
        )
    required = [
        item.name
        for item in inspect.signature(owner).parameters.values()
        if item.default is item.empty and item.kind not in {item.VAR_POSITIONAL, item.VAR_KEYWORD}
    ]
    if required:
        raise DefinitionError(
            f"workflow class {owner.__name__!r} must be made without arguments: give {required[0]!r} to @main"
        )
    queries: dict[str, QueryMethod[Any, ..., Any]] = {}
    updates: dict[str, UpdateMethod[Any, ..., Any]] = {}
    for value in found.values():
        if isinstance(value, QueryMethod):
            asked = cast("QueryMethod[Any, ..., Any]", value)
            queries[asked.query.name] = asked
        elif isinstance(value, UpdateMethod):
            sent = cast("UpdateMethod[Any, ..., Any]", value)
            updates[sent.update.name] = sent
    return mains[0], queries, updates
