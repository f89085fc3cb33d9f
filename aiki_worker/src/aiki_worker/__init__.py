"""The Aiki worker: runs workflows and tasks over one session with a coordinator."""

from aiki_worker.errors import (
    DuplicateHandlerError,
    HandlerError,
    ModuleImportError,
    NoHandlersError,
    WorkerSettingsError,
)
from aiki_worker.handlers import Handlers, collect, load
from aiki_worker.settings import WorkerSettings, load_settings
from aiki_worker.worker import Worker

__all__ = [
    "DuplicateHandlerError",
    "HandlerError",
    "Handlers",
    "ModuleImportError",
    "NoHandlersError",
    "Worker",
    "WorkerSettings",
    "WorkerSettingsError",
    "collect",
    "load",
    "load_settings",
]
