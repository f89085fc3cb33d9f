"""The `aiki` command. Its subcommands come from every distribution that is installed."""

from aiki_client.cli.program import main

__all__ = ["main"]
