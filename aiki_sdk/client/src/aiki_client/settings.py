"""Settings of the client: flags win over the environment, the environment over `aiki.toml`.

Invariant: a key nobody knows is an error, never ignored.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aiki_client.errors import SettingsError

FILE: Final = "aiki.toml"
FILE_VARIABLE: Final = "AIKI_CONFIG"
SECTION: Final = "client"


class ClientSettings(BaseSettings):
    """Where the coordinator is, and whose runs are meant."""

    model_config = SettingsConfigDict(env_prefix="AIKI_", extra="forbid", frozen=True)

    # `host:port`; several with commas.
    address: str = "localhost:7700"
    namespace: str = "default"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the base's shape
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = InitSettingsSource(settings_cls, init_kwargs=dict(_read_section()))
        return init_settings, env_settings, file


def load_settings(**given: str | None) -> ClientSettings:
    """The settings; what is *given* (and not None) wins.

    Raises:
        SettingsError: names the setting and what is wrong with it.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return ClientSettings(**values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        known = ", ".join(ClientSettings.model_fields)
        raise SettingsError(f"client settings are wrong ({told}): known ones are {known}") from error


def _read_section() -> Mapping[str, Any]:
    """The `[client]` table of `aiki.toml` in this folder, or of the file that AIKI_CONFIG names."""
    named = os.environ.get(FILE_VARIABLE)
    path = Path(named or FILE)
    if named is None and not path.exists():
        return {}
    try:
        with path.open("rb") as file:
            section: object = tomllib.load(file).get(SECTION, {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(section, dict):
        raise SettingsError(f"{path}: [{SECTION}] must be a table of settings")
    return cast("dict[str, Any]", section)
