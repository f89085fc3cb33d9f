"""Settings of a coordinator: where each comes from, and what is refused."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from aiki_server.command import server
from aiki_server.settings import ServerSettingsError, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_secret_comes_from_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around it does not count: editors and `echo` end files with a line break."""
    (folder / "store").write_text("redis://:secret@host:1\n", encoding="utf-8")
    monkeypatch.setenv("AIKI_SERVER_STORE_FILE", "store")

    assert load_settings().store == "redis://:secret@host:1"


def test_a_setting_has_one_origin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable and its file are not both taken."""
    (folder / "store").write_text("redis://host:1", encoding="utf-8")
    monkeypatch.setenv("AIKI_SERVER_STORE_FILE", "store")
    monkeypatch.setenv("AIKI_SERVER_STORE", "redis://other:1")

    with pytest.raises(ServerSettingsError, match="AIKI_SERVER_STORE_FILE are both set"):
        load_settings()


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that named it."""
    monkeypatch.setenv("AIKI_SERVER_STORE_FILE", "/nowhere/store")

    with pytest.raises(ServerSettingsError, match="AIKI_SERVER_STORE_FILE: /nowhere/store"):
        load_settings()


@pytest.mark.parametrize("address", ["7701", "host:70000", "http://host:7701"])
def test_http_is_an_address(address: str) -> None:
    """As `listen` is; empty is nowhere."""
    assert load_settings().http == ""
    with pytest.raises(ServerSettingsError, match="http"):
        load_settings(http=address)


def test_check_config_names_origins_and_hides_passwords(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends without starting anything."""
    (folder / "aiki.toml").write_text("[server]\npartitions = 8\n", encoding="utf-8")
    monkeypatch.setenv("AIKI_SERVER_STORE", "redis://ada:secret@host:1")

    checked = CliRunner().invoke(server, ["--check-config", "--listen", "127.0.0.1:1"])

    assert checked.exit_code == 0
    assert 'listen = "127.0.0.1:1"  # flag' in checked.output
    assert 'store = "redis://ada:***@host:1"  # AIKI_SERVER_STORE' in checked.output
    assert "partitions = 8  # aiki.toml" in checked.output
    assert "retention_days = 30.0  # default" in checked.output


def test_check_config_refuses_what_is_wrong(folder: Path) -> None:
    """With the key, and exit status 2."""
    (folder / "aiki.toml").write_text("[server]\npartition = 8\n", encoding="utf-8")

    checked = CliRunner().invoke(server, ["--check-config"])

    assert checked.exit_code == 2
    assert "partition: there is no such setting" in checked.output


def test_a_typo_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, with what may have been meant; what Kubernetes sets for a Service is no typo."""
    monkeypatch.setenv("AIKI_SERVER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("AIKI_SERVER_PORT_7700_TCP_ADDR", "10.0.0.1")
    assert load_settings().listen == "127.0.0.1:7700"

    monkeypatch.setenv("AIKI_SERVER_RETENTION_DAY", "3")
    with pytest.raises(ServerSettingsError, match="did you mean AIKI_SERVER_RETENTION_DAYS"):
        load_settings()
