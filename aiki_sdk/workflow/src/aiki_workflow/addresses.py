"""Names of the commands of one run: by what they are, and which of several alike they are.

Runs that continue another number on under the index in their chain, so that mail which was meant for the
run before, and comes late, names nothing here.
"""

from __future__ import annotations

from aiki_task.errors import DefinitionError


class Addresses:
    """Makes every name once."""

    def __init__(self) -> None:
        self._chain = ""
        self._ordinals: dict[str, int] = {}
        self._keys: set[str] = set()

    def begin(self, chain_index: int) -> None:
        """The run is the one with this index in its chain."""
        self._chain = f"{chain_index}." if chain_index else ""

    def numbered(self, name: str) -> str:
        """The next of several alike."""
        ordinal = self._ordinals[name] = self._ordinals.get(name, 0) + 1
        return f"{name}/{self._chain}{ordinal}"

    def keyed(self, name: str, key: str, what: str) -> str:
        """The one with this key.

        Raises:
            DefinitionError: the run has used it.
        """
        address = f"{name}/{self._chain}={key}"
        if address in self._keys:
            raise DefinitionError(f"key {key!r} names two calls of {what} in one run: give each its own")
        self._keys.add(address)
        return address
