"""Settings of a worker: flags win over the environment (AIKI_WORKER_*), the environment over `aiki.toml`.

Invariant: a key nobody knows is an error, never ignored.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aiki_client.settings import load_settings as load_client_settings, problems, read_section
from aiki_task.durations import Duration, parse
from aiki_worker.errors import WorkerSettingsError

SECTION: Final = "worker"


class WorkerSettings(BaseSettings):
    """What a worker serves and how much of it.

    Attributes:
        address: `host:port` of coordinators, several with commas; default: the client's.
        namespace: default: the client's.
        queues: the queues it serves.
        slots: attempts of tasks at once.
        runs: runs held at once; default: as many as slots.
        threads: threads for sync tasks; default: as many as slots.
        cache_size: released runs that are kept in memory.
        identity: a name for people; default: host and process id.
        build_id: what the code is; default: a digest of its sources.
        grace: how long running work may take to finish when the worker is told to stop.
    """

    model_config = SettingsConfigDict(env_prefix="AIKI_WORKER_", extra="forbid", frozen=True)

    address: str = Field(default_factory=lambda: load_client_settings().address)
    namespace: str = Field(default_factory=lambda: load_client_settings().namespace, min_length=1)
    queues: Annotated[tuple[str, ...], NoDecode] = ("default",)
    slots: int = Field(default=100, ge=1, le=100_000)
    runs: int | None = Field(default=None, ge=0)
    threads: int | None = Field(default=None, ge=1)
    cache_size: int = Field(default=1000, ge=0)
    identity: str = Field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    build_id: str = ""
    grace: timedelta = timedelta(seconds=10)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("queues")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("a queue has a name: write one, such as default")
        return value

    @field_validator("grace", mode="before")
    @classmethod
    def _duration(cls, value: Duration) -> timedelta:
        return parse(value)

    @property
    def run_count(self) -> int:
        """Runs held at once."""
        return self.slots if self.runs is None else self.runs

    @property
    def thread_count(self) -> int:
        """Threads for sync tasks."""
        return self.threads or self.slots

    @property
    def task_window(self) -> int:
        """Remote tasks that may be on their way here at once: few, so that others get some too."""
        return max(1, self.slots // 4)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = InitSettingsSource(settings_cls, init_kwargs=dict(read_section(SECTION, WorkerSettingsError)))
        return init_settings, env_settings, file


def load_settings(**given: object) -> WorkerSettings:
    """The settings; what is *given* (and not None) wins.

    Raises:
        WorkerSettingsError: names the setting and what is wrong with it.
        SettingsError: the client's settings, which give the address, are wrong.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return WorkerSettings(**values)
    except ValidationError as error:
        raise WorkerSettingsError(f"worker settings are wrong: {problems(error, WorkerSettings)}") from error
