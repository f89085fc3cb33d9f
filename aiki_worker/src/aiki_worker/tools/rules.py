"""What workflow code must not do, and what to write instead: rules over a module's syntax tree. Pure.

A rule looks at code that runs in a workflow: functions marked `@workflow`, and the methods of classes marked so.
What such code calls in turn is not followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place, from line and column 1."""

    line: int
    column: int
    code: str
    message: str


CALLS: Final[dict[str, tuple[str, str]]] = {
    "datetime.datetime.now": ("AIKI101", "reads the clock: use now()"),
    "datetime.datetime.utcnow": ("AIKI101", "reads the clock: use now()"),
    "datetime.datetime.today": ("AIKI101", "reads the clock: use now()"),
    "datetime.date.today": ("AIKI101", "reads the clock: use now().date()"),
    "time.time": ("AIKI101", "reads the clock: use now().timestamp()"),
    "time.time_ns": ("AIKI101", "reads the clock: use now()"),
    "time.monotonic": ("AIKI101", "reads the clock: use now()"),
    "time.perf_counter": ("AIKI101", "reads the clock: use now()"),
    "time.sleep": ("AIKI104", "blocks the worker: use await sleep(duration)"),
    "uuid.uuid1": ("AIKI103", "differs on replay: use uuid4() of aiki_sdk"),
    "uuid.uuid4": ("AIKI103", "differs on replay: use uuid4() of aiki_sdk"),
    "open": ("AIKI105", "reads or writes a file: do it in a task"),
    "io.open": ("AIKI105", "reads or writes a file: do it in a task"),
    "input": ("AIKI105", "waits for a person at a terminal: wait for a signal"),
    "os.system": ("AIKI106", "starts a process: do it in a task"),
    "os.getenv": ("AIKI110", "may differ on another worker: pass it as an argument, or read it in a task"),
    "os.urandom": ("AIKI102", "differs on replay: use random() of aiki_sdk"),
    "asyncio.to_thread": ("AIKI109", "runs code that is not replayed: make it a task"),
    "asyncio.run": ("AIKI109", "starts another event loop: await it"),
}
PACKAGES: Final[dict[str, tuple[str, str]]] = {
    "random": ("AIKI102", "differs on replay: use random() of aiki_sdk"),
    "secrets": ("AIKI102", "differs on replay: make secrets in a task"),
    "subprocess": ("AIKI106", "starts a process: do it in a task"),
    "threading": ("AIKI107", "starts or uses threads: use asyncio, or a task"),
    "multiprocessing": ("AIKI107", "starts a process: do it in a task"),
    "concurrent.futures": ("AIKI107", "starts threads: use asyncio, or a task"),
    "socket": ("AIKI108", "uses the network: do it in a task"),
    "requests": ("AIKI108", "uses the network: do it in a task"),
    "httpx": ("AIKI108", "uses the network: do it in a task"),
    "aiohttp": ("AIKI108", "uses the network: do it in a task"),
    "urllib.request": ("AIKI108", "uses the network: do it in a task"),
    "shutil": ("AIKI105", "reads or writes files: do it in a task"),
}
FILE_METHODS: Final = frozenset({"read_text", "write_text", "read_bytes", "write_bytes", "unlink", "mkdir"})
MARKS: Final = frozenset({"aiki_sdk.workflow", "aiki_workflow.workflow"})
TASK_MARKS: Final = frozenset({"aiki_sdk.task", "aiki_task.task"})
ALLOW: Final = "aiki: allow"
"""A comment on the line that a finding is on: whoever writes it has thought about it."""


def findings(source: str) -> list[Finding]:
    """What in a module is not deterministic, in the order of its lines.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(source)
    names = _imported(tree)
    tasks = {node.name for node in _functions(tree) if _is_marked(node, names, TASK_MARKS)}
    lines = source.splitlines()
    found: set[Finding] = set()
    for code in _workflow_code(tree, names):
        checker = _Checker(names, tasks)
        checker.visit(code)
        found.update(checker.found)
    return sorted(finding for finding in found if ALLOW not in lines[finding.line - 1])


class _Checker(ast.NodeVisitor):
    def __init__(self, names: dict[str, str], tasks: set[str]) -> None:
        self.found: list[Finding] = []
        self._names = names
        self._tasks = tasks

    def visit_Call(self, node: ast.Call) -> None:
        name = _dotted(node.func, self._names)
        told = CALLS.get(name) or _of_package(name)
        if told is not None:
            self._tell(node, told[0], f"{name}() {told[1]}")
        elif isinstance(node.func, ast.Attribute) and node.func.attr in FILE_METHODS:
            self._tell(node, "AIKI105", f".{node.func.attr}() reads or writes a file: do it in a task")
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor":
            self._tell(node, "AIKI109", "run_in_executor() runs code that is not replayed: make it a task")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _dotted(node.value, self._names) == "os.environ":
            self._tell(node, "AIKI110", "os.environ may differ on another worker: pass it as an argument")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._check_order(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._check_order(node.iter)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {"" if kind is None else _dotted(kind, self._names) for kind in kinds}
        swallows = names & {"", "BaseException", "asyncio.CancelledError"}
        if swallows and not any(isinstance(child, ast.Raise) for child in ast.walk(node)):
            message = "swallows cancellation: raise it again, or the run cannot be cancelled"
            self._tell(node, "AIKI112", message)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self._tell(node, "AIKI113", "global state is not replayed: keep it in the run, or in a task's store")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and _dotted(node.value.func, self._names) in self._tasks:
            self._tell(
                node,
                "AIKI114",
                f"task {ast.unparse(node.value.func)} is called and not awaited: await it, or it never runs",
            )
        self.generic_visit(node)

    def _check_order(self, over: ast.expr) -> None:
        is_set = isinstance(over, (ast.Set, ast.SetComp)) or (
            isinstance(over, ast.Call) and _dotted(over.func, self._names) in {"set", "frozenset"}
        )
        if is_set:
            self._tell(over, "AIKI111", "the order of a set differs between processes: sort it")

    def _tell(self, node: ast.expr | ast.stmt | ast.ExceptHandler, code: str, message: str) -> None:
        self.found.append(Finding(node.lineno, node.col_offset + 1, code, message))


def _of_package(name: str) -> tuple[str, str] | None:
    for package, told in PACKAGES.items():
        if name.startswith(f"{package}."):
            return told
    return None


def _imported(tree: ast.Module) -> dict[str, str]:
    """What the names of a module stand for, by what it imports anywhere."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                own = alias.asname or alias.name.partition(".")[0]
                names[own] = alias.name if alias.asname else own
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name an expression stands for; empty for others."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""


def _is_marked(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, names: dict[str, str], marks: Iterable[str]
) -> bool:
    for mark in node.decorator_list:
        called = mark.func if isinstance(mark, ast.Call) else mark
        if _dotted(called, names) in marks:
            return True
    return False


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _workflow_code(tree: ast.Module, names: dict[str, str]) -> Iterator[ast.stmt]:
    """The bodies of workflows."""
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if _is_marked(node, names, MARKS):
            yield from node.body
