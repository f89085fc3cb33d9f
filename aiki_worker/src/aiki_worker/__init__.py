"""The Aiki worker: runs workflows and tasks over one session with a coordinator.

What speaks to a coordinator is imported at first use, so that child processes start fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from aiki_worker.errors import (
    DuplicateHandlerError,
    HandlerError,
    LifespanError,
    ModuleImportError,
    NoHandlersError,
    WorkerSettingsError,
)
from aiki_worker.handlers import Handlers, collect, load

if TYPE_CHECKING:
    from aiki_worker.settings import WorkerSettings, load_settings
    from aiki_worker.worker import Worker

__all__ = [
    "DuplicateHandlerError",
    "HandlerError",
    "Handlers",
    "LifespanError",
    "ModuleImportError",
    "NoHandlersError",
    "Worker",
    "WorkerSettings",
    "WorkerSettingsError",
    "collect",
    "load",
    "load_settings",
]

_LATER: Final = {
    "Worker": "aiki_worker.worker",
    "WorkerSettings": "aiki_worker.settings",
    "load_settings": "aiki_worker.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found
