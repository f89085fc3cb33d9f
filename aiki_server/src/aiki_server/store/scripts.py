"""The Lua scripts, loaded from `lua/`, and how they are called.

A line `--@ NAME` in a script stands for `lua/parts/NAME.lua`. Every script is idempotent, validates first
and writes last; its head comment says what it takes and returns.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiki_server.store.connection import Argument


class Script:
    """A script: call it with `command`."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> tuple[Argument, ...]:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


@cache
def script(name: str) -> Script:
    """The script of this name."""
    folder = files("aiki_server.store") / "lua"
    lines = (folder / f"{name}.lua").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("--@ "):
            part = folder / "parts" / f"{line.removeprefix('--@ ').strip()}.lua"
            lines[number] = part.read_text(encoding="utf-8").rstrip("\n")
    return Script(name, "\n".join(lines) + "\n")


def all_scripts() -> list[Script]:
    """Every script there is, by name."""
    folder = files("aiki_server.store") / "lua"
    return [script(name) for name in sorted(_names(folder))]


def _names(folder: Traversable) -> list[str]:
    return [entry.name.removesuffix(".lua") for entry in folder.iterdir() if entry.name.endswith(".lua")]
