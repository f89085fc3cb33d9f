"""What a worker serves."""

from pathlib import Path
from types import ModuleType

import pytest

from aiki_task import task
from aiki_worker import DuplicateHandlerError, ModuleImportError, NoHandlersError, collect, load
from aiki_workflow import workflow
from tests.unit.worker import flows


def module(name: str, **namespace: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(namespace)
    return made


@task
async def charge() -> None:
    """A task."""


def test_workflows_and_tasks_of_a_module_are_served() -> None:
    """All that its namespace holds, imported things too."""
    handlers = load(["tests.unit.worker.flows"])

    assert handlers.workflows["chain", "1"] is flows.chain
    assert handlers.tasks["double"] is flows.double
    assert collect([module("shop", charge=charge)]).tasks == {"charge": charge}


def test_module_that_does_not_import_names_module_and_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what to do."""
    (tmp_path / "broken_shop.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleImportError, match="'broken_shop' cannot be imported: ZeroDivisionError"):
        load(["broken_shop"])
    with pytest.raises(ModuleImportError, match="no_such_shop"):
        load(["no_such_shop"])


def test_two_tasks_of_one_name_are_refused() -> None:
    """A name stands for one definition; the same one found twice is no error."""

    @task(name="charge")
    async def other() -> None:
        pass

    collect([module("a", charge=charge), module("b", again=charge.with_(timeout="1s"))])
    with pytest.raises(DuplicateHandlerError, match="task 'charge' is defined twice"):
        collect([module("a", charge=charge, other=other)])


def test_two_workflows_differ_by_version() -> None:
    """Old and new may be served together."""

    @workflow(name="buy", version="1")
    async def old() -> None:
        pass

    @workflow(name="buy", version="2")
    async def new() -> None:
        pass

    assert len(collect([module("shop", old=old, new=new)]).workflows) == 2
    with pytest.raises(DuplicateHandlerError, match="workflow 'buy' version '1'"):
        collect([module("shop", old=old, new=workflow(name="buy", version="1")(new.function))])


def test_module_without_handlers_is_refused() -> None:
    """It is a mistake, and says so."""
    with pytest.raises(NoHandlersError, match="shop: no workflow and no task found"):
        collect([module("shop")])


def test_build_id_changes_with_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with nothing else."""
    source = tmp_path / "digested_shop.py"
    source.write_text("from aiki_task import task\n@task\nasync def t() -> None: ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    before = load(["digested_shop"]).build_id

    assert load(["digested_shop"]).build_id == before
    source.write_text(source.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    assert load(["digested_shop"]).build_id != before
