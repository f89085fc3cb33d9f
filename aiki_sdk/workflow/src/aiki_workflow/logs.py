"""Logging that is silent on replay: what a run has said once, it does not say again."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiki_workflow.loop import RunLoop

_logger = logging.getLogger("aiki.workflow")


class ReplayFilter(logging.Filter):
    """Drops what code of a replaying run logs, and names the run in the rest. Workers put it on every handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be seen."""
        loop = asyncio._get_running_loop()
        if not isinstance(loop, RunLoop):
            return True
        record.run_id = loop.engine.info.run_id
        return not loop.replaying


def report_unhandled(run_id: str, context: dict[str, Any]) -> None:
    """An exception in a run that nobody awaits."""
    _logger.error(
        "run %s: %s", run_id, context.get("message", "unhandled"), exc_info=context.get("exception")
    )
