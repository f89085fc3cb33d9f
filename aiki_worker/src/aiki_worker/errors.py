"""The expected errors of a worker.

AikiError
├── HandlerError               what a worker is to serve cannot be served
│   ├── ModuleImportError      a module cannot be imported
│   ├── DuplicateHandlerError  two handlers have one name
│   └── NoHandlersError        the modules define no workflow and no task
├── LifespanError              a resource could not be opened
└── WorkerSettingsError        aiki.toml, the environment or a flag is wrong
"""

from __future__ import annotations

from collections.abc import Sequence

from aiki_task.errors import AikiError


class HandlerError(AikiError):
    """What a worker is to serve cannot be served."""


class ModuleImportError(HandlerError):
    """A module cannot be imported.

    Attributes:
        module: its name.
    """

    def __init__(self, module: str, cause: BaseException) -> None:
        super().__init__(
            f"module {module!r} cannot be imported: {type(cause).__name__}: {cause}. "
            "Name it as Python imports it (shop, or shop.orders), and run the worker where it can be imported."
        )
        self.module = module


class DuplicateHandlerError(HandlerError):
    """Two handlers have one name.

    Attributes:
        handler: the name, as in "task 'charge'".
    """

    def __init__(self, handler: str, first: str, second: str) -> None:
        super().__init__(f"{handler} is defined twice, in {first} and in {second}: give one of them name=…")
        self.handler = handler


class NoHandlersError(HandlerError):
    """The modules define no workflow and no task."""

    def __init__(self, modules: Sequence[str]) -> None:
        named = ", ".join(modules)
        super().__init__(f"{named}: no workflow and no task found. Mark functions with @workflow and @task.")


class LifespanError(AikiError):
    """A resource could not be opened.

    Attributes:
        lifespan: its name.
    """

    def __init__(self, lifespan: str, cause: BaseException) -> None:
        super().__init__(f"the resource {lifespan!r} could not be opened: {type(cause).__name__}: {cause}")
        self.lifespan = lifespan


class WorkerSettingsError(AikiError):
    """aiki.toml, the environment or a flag is wrong."""
