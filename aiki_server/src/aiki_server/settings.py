"""How a coordinator is configured: flags, then AIKI_SERVER_… in the environment, then [server] in aiki.toml.

Each setting can also be read from a file, such as a mounted secret, that AIKI_SERVER_…_FILE names.
Invariant: what is wrong is told before anything is started, and a key nobody knows is wrong.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aiki_server.rpc.tls import TlsFiles
from aiki_server.store.address import FORMS, Target

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FILE: Final = "aiki.toml"
FILE_VARIABLE: Final = "AIKI_CONFIG"
PREFIX: Final = "AIKI_SERVER_"
# What Kubernetes sets in every pod for a Service that is called aiki-server.
SERVICE_LINK: Final = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_\w+)?)?")
SECTION: Final = "server"
# Every table of the file; the others are read by the client and the worker.
SECTIONS: Final = frozenset({"client", "server", "worker"})
LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")


class ServerSettingsError(Exception):
    """aiki.toml, the environment or a flag is wrong; one sentence."""


class ServerSettings(BaseSettings):
    """Everything a coordinator can be told. An unknown key is an error."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, allow_inf_nan=False)

    listen: str = Field("127.0.0.1:7700", description="where it serves; port 0 takes a free one")
    http: str = Field(
        "", description="where it serves `/livez`, `/readyz` and `/metrics`, as `HOST:PORT`; empty: nowhere"
    )
    tls_cert: Path | None = Field(
        None, description="its certificate, a PEM file; with it and `tls_key` it serves with TLS"
    )
    tls_key: Path | None = Field(None, description="the key of its certificate, a PEM file")
    tls_client_ca: Path | None = Field(
        None, description="lets in only clients and workers whose certificate this one signed, a PEM file"
    )
    store: str = Field(
        "", description="one of the forms in [stores.md](stores.md); empty: an embedded store in `data`"
    )
    store_user: str = Field("", description="wins over the user in `store`")
    store_password: SecretStr = Field(SecretStr(""), description="wins over the password in `store`")
    data: Path | None = Field(None, description="the folder of the embedded store")
    partitions: int | None = Field(
        None,
        ge=1,
        le=16384,
        description="fixed when a cluster is created; empty: 64, and 1024 on a Redis Cluster",
    )
    durability: Literal["fsync", "replicated", "local"] = Field(
        "fsync", description="what the store must keep: `fsync`, `replicated` or `local`"
    )
    replicas: int = Field(
        1, ge=1, le=10, description="how many replicas have what is acknowledged, with `replicated`"
    )
    allow_unsafe: bool = Field(default=False, description="serve on a store that can lose acknowledged work")
    lease_ttl_seconds: float = Field(
        10.0, gt=0.1, le=3600, description="a worker that is not heard for this long is dead"
    )
    retention_days: float = Field(30.0, gt=0, description="closed runs are deleted after this many days")
    calls_max: int = Field(
        10_000,
        ge=10,
        description="sessions of workers and calls of clients at once, those that wait included; others are refused",
    )
    stealing: bool = Field(
        default=True, description="idle workers get what busy ones were given and have not begun"
    )
    stealing_after_seconds: float = Field(
        0.1, ge=0, le=3600, description="what a worker was given this recently is not taken from it"
    )
    timeout_grace_seconds: float = Field(
        60.0,
        gt=0,
        description="a run whose time is up and that no worker serves is closed after this many seconds",
    )
    log_format: Literal["text", "json"] = Field("text", description="how it logs: `text` or `json`")

    @field_validator("listen", "http")
    @classmethod
    def _is_address(cls, value: str, info: ValidationInfo) -> str:
        if info.field_name == "http" and not value:
            return value
        found = LISTEN.fullmatch(value)
        if found is None or int(found[2]) >= 2**16:
            raise ValueError(f"{value!r} is no address: write HOST:PORT, such as 127.0.0.1:7700")
        return value

    @field_validator("tls_cert", "tls_key", "tls_client_ca", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError(
                "tls_client_ca needs tls_cert and tls_key: without them nobody shows a certificate"
            )
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files to serve TLS with; None: in the clear."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)

    @field_validator("store")
    @classmethod
    def _is_store(cls, value: str) -> str:
        try:
            Target.parse(value or "unix:///embedded")
        except ValueError as error:
            raise ValueError(f"it is no address of a store ({error}): write {FORMS}") from error
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  we read no .env file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  AIKI_SERVER_…_FILE names each
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, and that over the file."""
        named = InitSettingsSource(settings_cls, init_kwargs=_read_named_files())
        file = InitSettingsSource(settings_cls, init_kwargs=dict(_read_section()))
        return init_settings, env_settings, named, file


def load_settings(**given: object) -> ServerSettings:
    """The settings; what is *given* (and not None) wins.

    Raises:
        ServerSettingsError: names the setting and what is wrong with it.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _refuse_unknown_variables()
    try:
        return ServerSettings(**values)
    except ValidationError as error:
        raise ServerSettingsError(f"server settings are wrong: {_problems(error)}") from error


def origins(given: Mapping[str, object]) -> dict[str, str]:
    """Where the value of each setting comes from: flag, environment, file or default."""
    section = _read_section()
    files = _read_named_files()

    def origin(name: str) -> str:
        variable = f"{PREFIX}{name.upper()}"
        if given.get(name) is not None:
            return "flag"
        if variable in os.environ:
            return variable
        if name in files:
            return f"{variable}_FILE"
        return os.environ.get(FILE_VARIABLE, FILE) if name in section else "default"

    return {name: origin(name) for name in ServerSettings.model_fields}


def _refuse_unknown_variables() -> None:
    """A typo in the environment is an error as one in the file is; what Kubernetes puts there is none."""
    known = {*ServerSettings.model_fields} | {f"{name}_file" for name in ServerSettings.model_fields}
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name.lower() not in known and not SERVICE_LINK.fullmatch(name):
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f": did you mean {PREFIX}{near[0].upper()}?" if near else ""
            raise ServerSettingsError(f"{variable}: there is no such setting{hint}")


def _read_named_files() -> dict[str, Any]:
    """The settings whose AIKI_SERVER_…_FILE names a file: what stands in it, without white space around it.

    Raises:
        ServerSettingsError: a file cannot be read, or the setting stands in the environment as well.
    """
    found: dict[str, Any] = {}
    for name in ServerSettings.model_fields:
        variable = f"{PREFIX}{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if path is None:
            continue
        if variable in os.environ:
            raise ServerSettingsError(f"{variable} and {variable}_FILE are both set: keep one of them")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ServerSettingsError(f"{variable}_FILE: {path} cannot be read: {error}") from error
    return found


def _problems(error: ValidationError) -> str:
    """What is wrong with the values, in one line."""
    told = [f"{'.'.join(map(str, item['loc']))}: {_problem(item)}" for item in error.errors()]
    is_unknown = any(item["type"] == "extra_forbidden" for item in error.errors())
    known = f" (known are {', '.join(ServerSettings.model_fields)})" if is_unknown else ""
    return "; ".join(told) + known


def _problem(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such setting"
    return item["msg"].removeprefix("Value error, ").rstrip(".")


def _read_section() -> Mapping[str, Any]:
    """The `[server]` table of `aiki.toml` in this folder, or of the file that AIKI_CONFIG names."""
    named = os.environ.get(FILE_VARIABLE)
    path = Path(named or FILE)
    if named is None and not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServerSettingsError(f"{path} cannot be read: {error}") from error
    unknown = ", ".join(f"[{name}]" for name in tables if name not in SECTIONS)
    if unknown:
        raise ServerSettingsError(
            f"{path}: {unknown} is unknown: the tables are [client], [server] and [worker]"
        )
    section: object = tables.get(SECTION, {})
    if not isinstance(section, dict):
        raise ServerSettingsError(f"{path}: [{SECTION}] must be a table of settings")
    return cast("dict[str, Any]", section)
