"""What workflow code must not do, and what to write instead: rules over a module's syntax tree. Pure.

A rule looks at code that runs in a workflow: functions marked `@workflow`, the methods of classes marked so, and the
functions of the same project that these use, in whatever module they are.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from aiki_worker.tools.modules import Module, Project, Source
from aiki_worker.tools.reach import Reached, reached
from aiki_worker.tools.repeats import repeated


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place, from line and column 1; `module` is where, when it is not the module that was asked for."""

    line: int
    column: int
    code: str
    message: str
    module: str = ""


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
SET_METHODS: Final = frozenset({"copy", "difference", "intersection", "symmetric_difference", "union"})
OWN_NAME: Final = "__main__"
ALLOW: Final = "aiki: allow"
"""A comment on the line that a finding is on: whoever writes it has thought about it."""


def findings(
    source: str, name: str = "", load: Callable[[str], Source | None] | None = None
) -> list[Finding]:
    """What in a module, and in what its workflows use of others, is not deterministic, in the order of the lines.

    Args:
        source: its text.
        name: the module's dotted name, by which others of its project import it.
        load: the source of another module of the project; None for what is not of the project.

    Raises:
        SyntaxError: it is no Python.
    """
    own = name or OWN_NAME
    project = Project(lambda wanted: Source(source) if wanted == own else load(wanted) if load else None)
    module = project.module(own)
    assert module is not None
    return check(project, module)


def check(project: Project, module: Module) -> list[Finding]:
    """The findings of a module; see `findings`."""
    found: set[Finding] = set()
    for code in reached(project, module):
        checker = _Checker(project, code)
        for statement in code.body:
            checker.visit(statement)
        for call, called, line in repeated(project, code.module, code.body):
            checker.tell(
                call,
                "AIKI115",
                f"{called} is called with the same arguments as in line {line}, and only the order tells the two "
                "apart: give each a key, as in with_(key=…), or removing one shifts the other",
            )
        found.update(
            replace(finding, module="" if code.module is module else code.module.name)
            for finding in checker.found
            if ALLOW not in code.module.lines[finding.line - 1]
        )
    return sorted(found)


class _Checker(ast.NodeVisitor):
    def __init__(self, project: Project, code: Reached) -> None:
        self.found: list[Finding] = []
        self._project = project
        self._code = code
        self._dotted = code.module.dotted
        self._sets = _set_names(code)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        told = CALLS.get(name) or _of_package(name)
        if told is not None:
            self.tell(node, told[0], f"{name}() {told[1]}")
        elif isinstance(node.func, ast.Attribute) and node.func.attr in FILE_METHODS:
            self.tell(node, "AIKI105", f".{node.func.attr}() reads or writes a file: do it in a task")
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor":
            self.tell(node, "AIKI109", "run_in_executor() runs code that is not replayed: make it a task")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._dotted(node.value) == "os.environ":
            self.tell(node, "AIKI110", "os.environ may differ on another worker: pass it as an argument")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._check_order(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._check_order(node.iter)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {"" if kind is None else self._dotted(kind) for kind in kinds}
        swallows = names & {"", "BaseException", "asyncio.CancelledError"}
        if swallows and not any(isinstance(child, ast.Raise) for child in ast.walk(node)):
            message = "swallows cancellation: raise it again, or the run cannot be cancelled"
            self.tell(node, "AIKI112", message)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.tell(node, "AIKI113", "global state is not replayed: keep it in the run, or in a task's store")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and self._is_task(node.value.func):
            self.tell(
                node,
                "AIKI114",
                f"task {ast.unparse(node.value.func)} is called and not awaited: await it, or it never runs",
            )
        self.generic_visit(node)

    def _is_task(self, function: ast.expr) -> bool:
        found = self._project.definition(self._dotted(function))
        return found is not None and found.kind == "task"

    def _check_order(self, over: ast.expr) -> None:
        if _is_set(over, self._sets, self._code.module):
            self.tell(over, "AIKI111", "the order of a set differs between processes: sort it")

    def tell(self, node: ast.expr | ast.stmt | ast.ExceptHandler, code: str, message: str) -> None:
        """Report a finding."""
        workflow = self._code.workflow
        told = f"{message} (workflow {workflow} comes here)" if workflow else message
        self.found.append(Finding(node.lineno, node.col_offset + 1, code, told))


def _is_set(value: ast.expr, names: frozenset[str], module: Module) -> bool:
    """Whether an expression is a set, as far as can be told without types."""
    match value:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Name():
            return value.id in names
        case ast.Call(func=ast.Attribute(attr=attr, value=of)) if attr in SET_METHODS:
            return _is_set(of, names, module)
        case ast.Call():
            return module.dotted(value.func) in {"set", "frozenset"}
        case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return _is_set(value.left, names, module) or _is_set(value.right, names, module)
        case _:
            return False


def _set_names(code: Reached) -> frozenset[str]:
    """Names that are only ever given sets in this code, or are parameters that say so."""
    sets: set[str] = set()
    others: set[str] = set()
    for node in ast.walk(code.node):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                (sets if _is_set(value, frozenset(), code.module) else others).add(name)
            case (
                ast.AnnAssign(target=ast.Name(id=name), annotation=hint) | ast.arg(arg=name, annotation=hint)
            ):
                (sets if _is_set_hint(hint) else others).add(name)
            case _:
                pass
    return frozenset(sets - others)


def _is_set_hint(hint: ast.expr | None) -> bool:
    of = hint.value if isinstance(hint, ast.Subscript) else hint
    return isinstance(of, ast.Name) and of.id in {"set", "frozenset", "Set", "AbstractSet", "FrozenSet"}


def _of_package(name: str) -> tuple[str, str] | None:
    for package, told in PACKAGES.items():
        if name.startswith(f"{package}."):
            return told
    return None
