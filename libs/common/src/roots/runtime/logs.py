"""Structured logs: one JSON object a line on standard output, with a constant event name and fields.

Records of the libraries (waitress, nats, psycopg) pass through the same formatter, so that a log line is always JSON;
they are the event `library`, and what they say is its `detail`.
"""

import logging
import sys
from typing import Any

import structlog


def configure(service: str, level: str = "info") -> None:
    """Send every log record of this process to standard output as JSON, with `service` among its fields."""

    def add_service(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", key="ts"),
        add_service,
        structlog.processors.format_exc_info,
    ]

    def name_library(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # Its text changes each time: as an event name it could be neither counted nor searched for.
        event.update(event="library", logger=event["_record"].name, detail=event["event"])
        return event

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), name_library, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # waitress warns at each request that waits for a thread; the queue has a metric instead.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
