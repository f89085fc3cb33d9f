"""Settings of the client: flags win over the environment, the environment over `aiki.toml`.

Each setting can also be read from a file, such as a mounted secret, that AIKI_…_FILE names. Invariant: a key nobody knows is an error, never ignored.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aiki_client.errors import SettingsError
from aiki_task.errors import AikiError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from aiki_client.channels import Tls

FILE: Final = "aiki.toml"
FILE_VARIABLE: Final = "AIKI_CONFIG"
SECTION: Final = "client"
# What Kubernetes sets in every pod for a Service that is called, for example, aiki-worker.
SERVICE_LINK: Final = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_\w+)?)?")
# Every table of the file.
SECTIONS: Final = frozenset({"client", "server", "worker"})


class ClientSettings(BaseSettings):
    """Where the coordinator is, and whose runs are meant."""

    model_config = SettingsConfigDict(env_prefix="AIKI_", extra="forbid", frozen=True)

    address: str = Field(
        default="localhost:7700",
        description="`host:port` of coordinators, several with commas, or `dns:///name:port`",
    )
    namespace: str = Field(default="default", min_length=1, description="whose runs are meant")
    tls: bool = Field(default=False, description="speak TLS; so does naming any of the files below")
    tls_ca: Path | None = Field(
        default=None,
        description="whose certificates it trusts, a PEM file; default: those that the system trusts",
    )
    tls_cert: Path | None = Field(default=None, description="its own certificate, a PEM file")
    tls_key: Path | None = Field(default=None, description="the key of its own certificate, a PEM file")
    tls_server_name: str = Field(
        default="", description="the name in the coordinators' certificates; default: the host of the address"
    )

    @property
    def tls_files(self) -> "Tls | None":
        """None: in the clear."""
        from aiki_client.channels import Tls

        if not (self.tls or self.tls_ca or self.tls_cert or self.tls_key):
            return None
        return Tls(ca=self.tls_ca, cert=self.tls_cert, key=self.tls_key, server_name=self.tls_server_name)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the base's shape
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = InitSettingsSource(settings_cls, init_kwargs=read_named_files(settings_cls, SettingsError))
        file = InitSettingsSource(settings_cls, init_kwargs=dict(read_section(SECTION, SettingsError)))
        return init_settings, env_settings, named, file


def load_settings(**given: str | None) -> ClientSettings:
    """The settings; what is *given* (and not None) wins.

    Raises:
        SettingsError: names the setting and what is wrong with it.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return ClientSettings(**values)
    except ValidationError as error:
        raise SettingsError(f"client settings are wrong: {problems(error, ClientSettings)}") from error


def problems(error: ValidationError, settings: type[BaseSettings]) -> str:
    """What is wrong with the values of *settings*, in one line."""
    told = [f"{'.'.join(map(str, item['loc']))}: {_problem(item)}" for item in error.errors()]
    is_unknown = any(item["type"] == "extra_forbidden" for item in error.errors())
    known = f" (known are {', '.join(settings.model_fields)})" if is_unknown else ""
    return "; ".join(told) + known


def read_section(section: str, refusal: type[AikiError]) -> Mapping[str, Any]:
    """A table of `aiki.toml` in this folder, or of the file that AIKI_CONFIG names.

    Raises:
        AikiError: *refusal*: the file cannot be read, or is none of ours.
    """
    named = os.environ.get(FILE_VARIABLE)
    path = Path(named or FILE)
    if named is None and not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise refusal(f"{path} cannot be read: {error}") from error
    unknown = ", ".join(f"[{name}]" for name in tables if name not in SECTIONS)
    if unknown:
        raise refusal(f"{path}: {unknown} is unknown: the tables are [client], [server] and [worker]")
    found: object = tables.get(section, {})
    if not isinstance(found, dict):
        raise refusal(f"{path}: [{section}] must be a table of settings")
    return cast("dict[str, Any]", found)


def refuse_unknown_variables(settings: type[BaseSettings], refusal: type[AikiError]) -> None:
    """A typo in the environment is an error as one in the file is; what Kubernetes puts there is none.

    Raises:
        AikiError: *refusal*: a variable has the prefix of *settings*, and nobody knows it.
    """
    prefix = str(settings.model_config.get("env_prefix"))
    known = {*settings.model_fields} | {f"{name}_file" for name in settings.model_fields}
    for variable in sorted(os.environ):
        name = variable.removeprefix(prefix)
        if variable.startswith(prefix) and name.lower() not in known and not SERVICE_LINK.fullmatch(name):
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f": did you mean {prefix}{near[0].upper()}?" if near else ""
            raise refusal(f"{variable}: there is no such setting{hint}")


def read_named_files(settings: type[BaseSettings], refusal: type[AikiError]) -> dict[str, Any]:
    """The *settings* whose variable with `_FILE` names a file: what stands in it, without white space around it.

    Raises:
        AikiError: *refusal*: a file cannot be read, or the setting stands in the environment as well.
    """
    found: dict[str, Any] = {}
    for name in settings.model_fields:
        variable = f"{settings.model_config.get('env_prefix')}{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if path is None:
            continue
        if variable in os.environ:
            raise refusal(f"{variable} and {variable}_FILE are both set: keep one of them")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise refusal(f"{variable}_FILE: {path} cannot be read: {error}") from error
    return found


def _problem(item: "ErrorDetails") -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such setting"
    return item["msg"].removeprefix("Value error, ").rstrip(".")
