"""Logging that is silent on replay: what a run has said once, it does not say again."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiki_workflow.loop import RunLoop

_logger = logging.getLogger("aiki.workflow")


class ReplayFilter(logging.Filter):
    """Drops what code of a replaying run logs. Workers put it on every handler."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  the base's signature
        """Whether the record is to be seen."""
        loop = asyncio._get_running_loop()
        return not (isinstance(loop, RunLoop) and loop.replaying)


def report_unhandled(run_id: str, context: dict[str, Any]) -> None:
    """An exception in a run that nobody awaits."""
    _logger.error(
        "run %s: %s", run_id, context.get("message", "unhandled"), exc_info=context.get("exception")
    )
