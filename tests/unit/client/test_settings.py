"""Flags win over the environment, the environment over the file; unknown keys are errors."""

from pathlib import Path

import pytest

from aiki_client.errors import SettingsError
from aiki_client.settings import load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no settings in the environment."""
    for name in ("AIKI_ADDRESS", "AIKI_NAMESPACE", "AIKI_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults() -> None:
    """A coordinator on this machine."""
    settings = load_settings()

    assert (settings.address, settings.namespace) == ("localhost:7700", "default")


def test_precedence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, then environment, then what is given; None is not given."""
    (folder / "aiki.toml").write_text('[client]\naddress = "file:1"\nnamespace = "file"\n', encoding="utf-8")
    assert load_settings(namespace=None).namespace == "file"

    monkeypatch.setenv("AIKI_NAMESPACE", "environment")
    settings = load_settings()
    assert (settings.address, settings.namespace) == ("file:1", "environment")

    assert load_settings(namespace="flag").namespace == "flag"


def test_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AIKI_CONFIG names it, and then it must be there."""
    monkeypatch.setenv("AIKI_CONFIG", str(folder / "other.toml"))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings()

    (folder / "other.toml").write_text('[client]\naddress = "other:1"\n', encoding="utf-8")
    assert load_settings().address == "other:1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[client]\nadress = 'typo:1'",
            r"adress: there is no such setting \(known are address, namespace, tls,",
        ),
        ("[cilent]\naddress = 'typo:1'", r"\[cilent\] is unknown"),
        ("[client]\nnamespace = ''", "namespace"),
        ("[client]\naddress = 7", "address"),
        ("client = 7", "must be a table"),
        ("[client", "cannot be read"),
    ],
)
def test_a_wrong_file_is_an_error(folder: Path, text: str, told: str) -> None:
    """It names what is wrong."""
    (folder / "aiki.toml").write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match=told):
        load_settings()


def test_a_file_that_is_no_text(folder: Path) -> None:
    """As one that is no TOML."""
    (folder / "aiki.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match=r"aiki\.toml cannot be read"):
        load_settings()


def test_other_sections_are_not_ours(folder: Path) -> None:
    """The server's and the worker's settings live in the same file."""
    (folder / "aiki.toml").write_text("[server]\nlisten = '0.0.0.0:1'\n", encoding="utf-8")

    assert load_settings().address == "localhost:7700"
