"""How a coordinator is configured: flags, then AIKI_SERVER_… in the environment, then [server] in aiki.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

CONFIG_FILE = "aiki.toml"


class ServerSettings(BaseSettings):
    """Everything a coordinator can be told. An unknown key is an error."""

    model_config = SettingsConfigDict(env_prefix="AIKI_SERVER_", extra="forbid", frozen=True)

    listen: str = Field("127.0.0.1:7700", description="where it serves; port 0 takes a free one")
    store: str = Field(
        "", description="redis://, rediss:// or unix:///PATH; empty: an embedded store in `data`"
    )
    data: Path | None = Field(None, description="the folder of the embedded store")
    partitions: int = Field(64, ge=1, le=16384, description="fixed when a cluster is created")
    durability: str = Field("fsync", pattern="^(fsync|local)$", description="what the store must keep")
    allow_unsafe: bool = Field(default=False, description="serve on a store that can lose acknowledged work")
    lease_ttl_seconds: float = Field(
        10.0, gt=0.1, description="a worker that is not heard for this long is dead"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  we read no .env file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  nor secrets' files yet
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, and that over the file."""
        return (init_settings, env_settings, _TomlSection(settings_cls))


class _TomlSection(PydanticBaseSettingsSource):
    """The [server] table of aiki.toml in the working directory, if there is one."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  the base's shape
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = Path(CONFIG_FILE)
        if not path.exists():
            return {}
        return dict(tomllib.loads(path.read_text(encoding="utf-8")).get("server", {}))
