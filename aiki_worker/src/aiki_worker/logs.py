"""Logging of a worker process: structured, to stderr, silent on replay."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Literal

import structlog
from opentelemetry import trace

from aiki_task.context import entered
from aiki_workflow.logs import ReplayFilter
from aiki_workflow.loop import RunLoop


class Whereabouts(logging.Filter):
    """Names the run, the task's attempt and the trace in what their code logs; drops nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always to be seen."""
        for name, value in whereabouts().items():
            setattr(record, name, value)
        return True


def whereabouts() -> dict[str, str | int]:
    """Which run, task, attempt and span this code is part of."""
    found: dict[str, str | int] = {}
    loop, context = asyncio._get_running_loop(), entered()
    if isinstance(loop, RunLoop):
        found["run_id"] = loop.engine.info.run_id
    elif context is not None:
        found |= {"run_id": context.run_id, "task": context.address, "attempt": context.attempt}
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        found |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    return found


def _add_whereabouts(
    _logger: object, _method: str, told: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The same, for what is logged by structlog."""
    told.update(whereabouts())
    return told


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Send everything that is logged to stderr, in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ)
    )
    tail: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        tail.append(structlog.processors.format_exc_info)
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*tail, renderer])
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    handler.addFilter(ReplayFilter())
    handler.addFilter(Whereabouts())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What authors log by structlog goes the same way.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_whereabouts,
            structlog.stdlib.filter_by_level,
            *shared[:2],
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
