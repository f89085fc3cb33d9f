"""What a worker serves: the workflows and tasks found in modules.

Invariant: a name (and version, for workflows) stands for one definition.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeGuard, cast

from aiki_task.lifespan import Lifespan
from aiki_task.task import Task
from aiki_worker.errors import DuplicateHandlerError, ModuleImportError, NoHandlersError
from aiki_workflow import Workflow
from aiki_workflow.mapping import has_pages, page_workflow
from aiki_workflow.messages import WORKFLOW_ATTRIBUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """Workflows by name and version, tasks by name, lifespans in the order in which they are opened.

    Attributes:
        build_id: changes when the code does.
        modules: what was searched; a process that imports them finds the same.
    """

    workflows: Mapping[tuple[str, str], Workflow[..., Any]]
    tasks: Mapping[str, Task[..., Any]]
    build_id: str
    lifespans: Sequence[Lifespan[Any]] = ()
    modules: Sequence[str] = ()


def load(names: Sequence[str]) -> Handlers:
    """Import modules and collect what they define or have imported.

    Raises:
        ModuleImportError: one cannot be imported.
        DuplicateHandlerError: two definitions have one name.
        NoHandlersError: there is nothing to serve.
    """
    return collect([import_module(name) for name in names])


def collect(modules: Sequence[ModuleType], extra: Iterable[object] = ()) -> Handlers:
    """The handlers in the namespaces of *modules*, and those among *extra*.

    Raises:
        DuplicateHandlerError: two definitions have one name.
        NoHandlersError: there is nothing to serve.
    """
    workflows: dict[tuple[str, str], Workflow[..., Any]] = {}
    tasks: dict[str, Task[..., Any]] = {}
    found = [value for module in modules for value in vars(module).values()] + list(extra)
    names = [module.__name__ for module in modules]
    sources = set(names)
    lifespans: dict[Lifespan[Any], None] = {}
    for value in found:
        if _is_lifespan(value):
            lifespans[value] = None
        elif isinstance(value, Task):
            task = cast("Task[..., Any]", value)
            _add(tasks, task.name, task, f"task {task.name!r}")
            sources.add(task.function.__module__)
            if has_pages(task):
                page = page_workflow(task.base)
                workflows.setdefault((page.name, page.version), page)
        elif (workflow := _workflow_in(value)) is not None:
            what = f"workflow {workflow.name!r} version {workflow.version!r}"
            _add(workflows, (workflow.name, workflow.version), workflow, what)
            sources.add(workflow.function.__module__)
    if not workflows and not tasks:
        raise NoHandlersError(names)
    return Handlers(
        workflows=workflows,
        tasks=tasks,
        build_id=build_id(sources),
        lifespans=list(lifespans),
        modules=names,
    )


def only(handlers: Handlers, what: Literal["all", "workflows", "tasks"]) -> Handlers:
    """The workflows, or the tasks, or all of them.

    Raises:
        NoHandlersError: there is nothing of the kind.
    """
    if what == "all":
        return handlers
    left = replace(handlers, tasks={}) if what == "workflows" else replace(handlers, workflows={})
    if not left.workflows and not left.tasks:
        raise NoHandlersError([f"the {what} of what is given"])
    return left


def build_id(modules: Iterable[str]) -> str:
    """A digest of the sources of *modules*."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(set(modules)):
        path = getattr(sys.modules.get(name), "__file__", None)
        digest.update(name.encode() + b"\0")
        if path is not None and Path(path).is_file():
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def import_module(name: str) -> ModuleType:
    """Import an author's module.

    Raises:
        ModuleImportError: it cannot be imported.
    """
    if name.startswith("."):
        raise ModuleImportError(name, ImportError("it is a path, or a relative name"))
    # As `python -m` does it: what is in this folder can be imported.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ModuleImportError(name, error) from error


def _workflow_in(value: object) -> Workflow[..., Any] | None:
    """*value*, or what the class marked `@workflow` has."""
    if isinstance(value, type):
        value = vars(value).get(WORKFLOW_ATTRIBUTE)
    return cast("Workflow[..., Any]", value) if isinstance(value, Workflow) else None


def _is_lifespan(value: object) -> TypeGuard[Lifespan[Any]]:
    return isinstance(value, Lifespan)


def _add(known: dict[Any, Any], key: object, value: Any, what: str) -> None:
    before = known.setdefault(key, value)
    if before is not value and inspect.unwrap(before.function) is not inspect.unwrap(value.function):
        raise DuplicateHandlerError(what, _place(before.function), _place(value.function))


def _place(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"
