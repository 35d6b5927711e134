"""Structured logging: `logger("api").info("commit-stored", revision=7)`.

Events are past facts in dashed words; everything else is a key. Lines go to stderr: readable on a
terminal, JSON otherwise (`FILAMENT_LOG=json|console` decides explicitly).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import cast

import structlog

Logger = structlog.typing.FilteringBoundLogger


def configure(*, level: str = "info") -> None:
    """Set up logging once per process; `level` is debug, info, warning or error."""
    form = os.environ.get("FILAMENT_LOG") or ("console" if sys.stderr.isatty() else "json")
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # Asked anew for every line: stderr may be replaced while the process runs.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(room: str) -> Logger:
    """The logger of a room; `room` appears on every line."""
    return cast("Logger", structlog.get_logger(room=room))
