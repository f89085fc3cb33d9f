"""Settings of a worker, and its command."""

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from aiki_worker import WorkerSettingsError, load_settings
from aiki_worker.command import worker


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults() -> None:
    """A laptop needs no settings."""
    settings = load_settings()

    assert settings.address == "localhost:7700"
    assert settings.queues == ("default",)
    assert (settings.slots, settings.run_count, settings.thread_count) == (100, 100, 100)


def test_flags_win_over_the_environment_and_that_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One order for every setting."""
    (folder / "aiki.toml").write_text(
        '[worker]\nslots = 1\nthreads = 1\nqueues = ["a", "b"]\ngrace = "1m"\n[client]\naddress = "store:1"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("AIKI_WORKER_SLOTS", "2")
    monkeypatch.setenv("AIKI_WORKER_THREADS", "2")

    settings = load_settings(slots=3, runs=None)

    assert (settings.slots, settings.thread_count) == (3, 2)
    assert settings.queues == ("a", "b")
    assert settings.grace == timedelta(minutes=1)
    assert settings.address == "store:1"


def test_queues_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas."""
    monkeypatch.setenv("AIKI_WORKER_QUEUES", "a, b")

    assert load_settings().queues == ("a", "b")


def test_unknown_or_wrong_setting_is_named(folder: Path) -> None:
    """Never ignored."""
    with pytest.raises(WorkerSettingsError, match="slots"):
        load_settings(slots=0)
    (folder / "aiki.toml").write_text("[worker]\nslotz = 1\n", encoding="utf-8")
    with pytest.raises(WorkerSettingsError, match="slotz"):
        load_settings()


def test_command_says_what_is_wrong() -> None:
    """One sentence, no traceback."""
    result = CliRunner().invoke(worker, ["no_such_shop"])

    assert result.exit_code == 1
    assert "module 'no_such_shop' cannot be imported" in result.output


def test_a_typo_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, with what may have been meant; what Kubernetes sets for a Service is no typo."""
    monkeypatch.setenv("AIKI_WORKER_SERVICE_PORT", "7702")
    assert load_settings().slots == 100

    monkeypatch.setenv("AIKI_WORKER_SLOT", "3")
    with pytest.raises(WorkerSettingsError, match="did you mean AIKI_WORKER_SLOTS"):
        load_settings()
