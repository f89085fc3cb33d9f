"""Settings of a worker: flags win over the environment (AIKI_WORKER_*), the environment over `aiki.toml`.

Invariant: a key nobody knows is an error, never ignored.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aiki_client.channels import Tls
from aiki_client.settings import (
    load_settings as load_client_settings,
    problems,
    read_named_files,
    read_section,
    refuse_unknown_variables,
)
from aiki_task.durations import Duration, parse
from aiki_task.errors import PlacementError
from aiki_task.placing import labels_of
from aiki_worker.errors import WorkerSettingsError
from aiki_worker.executors import ChildSettings

SECTION: Final = "worker"


class WorkerSettings(BaseSettings):
    """What a worker serves and how much of it. An unknown key is an error."""

    model_config = SettingsConfigDict(env_prefix="AIKI_WORKER_", extra="forbid", frozen=True)

    address: str = Field(
        default_factory=lambda: load_client_settings().address,
        description="`host:port` of coordinators, several with commas, or `dns:///name:port`; default: the client's",
    )
    namespace: str = Field(
        default_factory=lambda: load_client_settings().namespace,
        min_length=1,
        description="the namespace of everything it serves; default: the client's",
    )
    tls: Tls | None = Field(
        default_factory=lambda: load_client_settings().tls_files,
        description="how it speaks TLS; default: as the client's `tls` settings say",
    )
    queues: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("default",), description="the queues it serves, with commas"
    )
    labels: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict[str, str],
        description="labels that work can ask for, as `KEY=VALUE` with commas, such as `gpu=a100,zone=eu`",
    )
    queue_slots: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict[str, int],
        description="the most slots that tasks of one queue may take together, as `QUEUE=SLOTS` with commas",
    )
    queue_weights: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict[str, int],
        description="the share that a queue with work gets against the others, as `QUEUE=WEIGHT` with commas; "
        "default: 1 each",
    )
    serve: Literal["all", "workflows", "tasks"] = Field(
        default="all", description="what of its modules it serves: `all`, `workflows` or `tasks`"
    )
    slots: int = Field(default=100, ge=1, le=100_000, description="attempts of tasks at once")
    prefetch: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="remote tasks taken beyond the free slots, so that none is waited for; idle workers steal them",
    )
    runs: int | None = Field(default=None, ge=0, description="runs held at once; default: as many as slots")
    threads: int | None = Field(
        default=None, ge=1, description="threads for sync tasks; default: as many as slots"
    )
    processes: int = Field(default=1, ge=1, le=1000, description="whole workers that one `aiki worker` runs")
    task_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1000,
        description='child processes for tasks with `executor="process"`; default: as many as there are processors',
    )
    task_process_attempts: int = Field(
        default=1000, ge=1, description="attempts after which a child process is replaced"
    )
    task_process_grace: timedelta = Field(
        default=timedelta(seconds=5),
        description="how long a child process has to end an attempt when it is asked to, and again on SIGTERM",
    )
    cache_size: int = Field(default=1000, ge=0, description="released runs that are kept in memory")
    identity: str = Field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}",
        description="a name for people; default: host and process id",
    )
    build_id: str = Field(default="", description="what the code is; default: a digest of its sources")
    http: str = Field(
        default="",
        description="where it serves `/livez`, `/readyz` and `/metrics`, as `HOST:PORT`; empty: nowhere",
    )
    connect_timeout: timedelta = Field(
        default=timedelta(minutes=1),
        description="how long a worker that no coordinator has welcomed yet looks for one, such as `30s`; `0s`: for ever",
    )
    grace: timedelta = Field(
        default=timedelta(seconds=10),
        description="how long running work may take to finish when the worker is told to stop, such as `30s`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="`text` or `json`")

    run_logs: Literal["off", "debug", "info", "warning", "error"] = Field(
        default="info",
        description="what code logs at this level or above is kept with its run, for `aiki run logs`; `off`: nothing is",
    )

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

    @field_validator("labels", "queue_slots", "queue_weights", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if isinstance(value, (list, tuple)):
            value = ",".join(map(str, cast("list[object]", value)))
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if not all(key and sign and text for key, sign, text in pairs):
            raise ValueError(f"{value!r} is no list of pairs: write KEY=VALUE, with commas between them")
        if len({key for key, _, _ in pairs}) != len(pairs):
            raise ValueError(f"{value!r} names one key twice")
        return {key.strip(): text.strip() for key, _, text in pairs}

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: dict[str, str]) -> dict[str, str]:
        try:
            labels_of("labels", value)
        except PlacementError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("queue_slots", "queue_weights")
    @classmethod
    def _are_counts(cls, value: dict[str, int]) -> dict[str, int]:
        for queue, number in value.items():
            if not 1 <= number <= 100_000:
                raise ValueError(f"{queue}={number}: write a number from 1 to 100,000")
        return value

    @model_validator(mode="after")
    def _queues_are_served(self) -> Self:
        for name, given in (("queue_slots", self.queue_slots), ("queue_weights", self.queue_weights)):
            unknown = sorted(set(given) - set(self.queues))
            if unknown:
                raise ValueError(
                    f"{name} names queue {unknown[0]!r}, which is not served: add it to queues, or correct the name"
                )
        return self

    @field_validator("http")
    @classmethod
    def _is_address(cls, value: str) -> str:
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", value)
        if value and (found is None or int(found[2]) >= 2**16):
            raise ValueError(f"{value!r} is no address: write HOST:PORT, such as 127.0.0.1:7702")
        return value

    @field_validator("grace", "task_process_grace", "connect_timeout", mode="before")
    @classmethod
    def _duration(cls, value: Duration) -> timedelta:
        return parse(value)

    def children_of(self, modules: Sequence[str]) -> ChildSettings:
        """How tasks of *modules* run in processes."""
        return ChildSettings(
            modules=modules,
            main_path=getattr(sys.modules.get("__main__"), "__file__", None),
            processes=self.task_processes,
            attempts_max=self.task_process_attempts,
            grace_s=self.task_process_grace.total_seconds(),
        )

    @property
    def run_log_level(self) -> str | None:
        """From which level on what code logs is kept; None keeps nothing."""
        return None if self.run_logs == "off" else self.run_logs

    @property
    def label_texts(self) -> tuple[str, ...]:
        """Each as `KEY=VALUE`, sorted."""
        return labels_of("labels", self.labels)

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
        return max(1, self.slots // 2)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = InitSettingsSource(
            settings_cls, init_kwargs=read_named_files(settings_cls, WorkerSettingsError)
        )
        file = InitSettingsSource(settings_cls, init_kwargs=dict(read_section(SECTION, WorkerSettingsError)))
        return init_settings, env_settings, named, file


def load_settings(**given: object) -> WorkerSettings:
    """The settings; what is *given* (and not None) wins.

    Raises:
        WorkerSettingsError: names the setting and what is wrong with it.
        SettingsError: the client's settings, which give the address, are wrong.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    refuse_unknown_variables(WorkerSettings, WorkerSettingsError)
    try:
        return WorkerSettings(**values)
    except ValidationError as error:
        raise WorkerSettingsError(f"worker settings are wrong: {problems(error, WorkerSettings)}") from error
