"""structured logs: one JSON line an event on stderr, or a line for a person on a terminal"""

from __future__ import annotations

import sys
from typing import Any

import structlog

Log = Any
"""A bound structlog logger."""


def setup(component: str, *, level: str = "info", as_json: bool | None = None) -> Log:
    """Configure logging of this process once and return its logger, bound to `component`.

    Args:
        component: gateway, streams, sink ...
        level: debug, info, warning or error.
        as_json: JSON lines; by default when stderr is not a terminal.
    """
    if as_json is None:
        as_json = not sys.stderr.isatty()
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    return structlog.get_logger(component=component)


class Presence:
    """Says once when something goes away and once when it is back, however often it is asked for in between."""

    def __init__(self, log: Log, what: str) -> None:
        self._log = log
        self._what = what
        self._away = False

    def away(self, why: object) -> None:
        """It cannot be reached; logged the first time only."""
        if not self._away:
            self._away = True
            self._log.warning("away", what=self._what, why=str(why))

    def back(self) -> None:
        """It answers; logged only when it was away."""
        if self._away:
            self._away = False
            self._log.info("back", what=self._what)
