"""Resources that a worker opens once for all its tasks: pools, clients, models.

A lifespan is an async generator that yields once. A worker enters those of its modules before it takes work and
leaves them, last first, when all work is over. Invariant: code of a task finds a value only where one was supplied;
none is made behind its back.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, cast

from aiki_task.errors import DefinitionError, ResourceMissingError

T = TypeVar("T")


class Lifespan(Generic[T]):
    """A resource and how it is opened and closed; made by `@lifespan`."""

    def __init__(self, function: Callable[[], AsyncIterator[T]]) -> None:
        self.function = function
        self.name: str = getattr(function, "__name__", repr(function))
        self.__name__ = self.name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def get(self) -> T:
        """The resource, in a task.

        Raises:
            ResourceMissingError: nobody supplied it here.
        """
        try:
            return cast("T", _supplied.get()[self])
        except KeyError:
            raise ResourceMissingError(self.name) from None

    @contextmanager
    def supplied(self, value: T) -> Generator[T, None, None]:
        """Have `get` return *value* within the block: for tests, and wherever no worker runs the task."""
        token = _supplied.set({**_supplied.get(), self: value})
        try:
            yield value
        finally:
            _supplied.reset(token)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[T]:
        """Open the real one, as a worker does, and supply it within the block."""
        async with self.open() as value:
            token = _supplied.set({**_supplied.get(), self: value})
            try:
                yield value
            finally:
                _supplied.reset(token)

    def open(self) -> AbstractAsyncContextManager[T]:
        """Opens it, and closes it after the block; supplies it to nobody: for workers."""
        function = cast("Callable[[], AsyncGenerator[T]]", self.function)
        return asynccontextmanager(function)()

    def __repr__(self) -> str:
        return f"<lifespan {self.name!r}>"


Resources = Mapping[Lifespan[Any], object]
"""What is open, for those who ask by `get`."""

NOTHING: Final[Resources] = MappingProxyType({})
_supplied: ContextVar[Resources] = ContextVar("aiki_task_resources", default=NOTHING)


def lifespan(function: Callable[[], AsyncIterator[T]]) -> Lifespan[T]:
    """Make an async generator function that yields once a resource of every worker that serves the module.

    Raises:
        DefinitionError: it is no async generator function, or wants arguments.
    """
    name = getattr(function, "__name__", repr(function))
    if not inspect.isasyncgenfunction(function):
        raise DefinitionError(f"lifespan {name!r} is no async generator: write async def and one yield")
    if inspect.signature(function).parameters:
        raise DefinitionError(f"lifespan {name!r} wants arguments: read settings inside it instead")
    return Lifespan(function)


def supply(resources: Resources) -> None:
    """Make these the resources of the code that runs in this contextvars context; for workers."""
    _supplied.set(resources)


@contextmanager
def supplying(resources: Resources) -> Generator[None, None, None]:
    """The same for a block."""
    token = _supplied.set(resources)
    try:
        yield
    finally:
        _supplied.reset(token)
