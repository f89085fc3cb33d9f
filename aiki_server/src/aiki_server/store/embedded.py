"""A Valkey server of our own, as a child process with its data in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class EmbeddedValkey:
    """`async with EmbeddedValkey(data_dir) as valkey: open_store(StoreSettings(url=valkey.url))`.

    Raises (on entering):
        EmbeddedStoreError: no binary for this platform, the folder is in use, or the server did not start.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    @property
    def url(self) -> str:
        """unix:///SOCKET, valid while the server runs and the same after a restart."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        """Stop the server (SHUTDOWN), and wait until it is gone."""
        raise NotImplementedError
