"""Builds a process's telemetry: its logger, its metrics, and the hook that feeds both."""

import io
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from typing_extensions import override

from fluxa.apps.serving.process import Tie
from fluxa.telemetry.catalogue import Hook, ProcessRestarted
from fluxa.telemetry.log import Logger, LogHook, fan_out, make_logger
from fluxa.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a process tells about itself.

    Attributes:
        logger: structured lines on standard error.
        metrics: what `/metrics` shows.
        hook: give this to engines.
    """

    logger: Logger
    metrics: Metrics
    hook: Hook

    def ready(self, service: str, url: str, tie: Tie) -> None:
        """Say that the process takes work, and where: in the log, in the metrics and to the supervisor."""
        for _ in range(tie.restarts):
            # The supervisor has no page of its own to be scraped, so each process tells what was done to it.
            self.metrics.hear(ProcessRestarted(process=service, exit_code=0, delay_s=0.0))
        self.logger.info("ready", url=url)
        tie.ready()


def observe(service: str, level: str, *, on_line: Callable[[str], None] | None = None) -> Telemetry:
    """The telemetry of a service; lines of libraries' own loggers go the same way.

    Args:
        service: ingest, processor, query, up.
        level: the least severe line that is written.
        on_line: takes the lines instead of standard error.
    """
    stream: TextIO = _Told(on_line) if on_line else _standard_error()
    logger = make_logger(service, level=level, stream=stream)
    metrics = Metrics()
    _adopt_libraries(logger)
    return Telemetry(logger=logger, metrics=metrics, hook=fan_out(LogHook(logger).hear, metrics.hear))


def _standard_error() -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(_Unbreakable()), encoding="utf-8", write_through=True)


class _Unbreakable(io.RawIOBase):
    """Standard error, where losing a line is better than losing the work that wanted to write it."""

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, content: Any, /) -> int:
        try:
            return os.write(sys.stderr.fileno(), content)
        except OSError:  # the supervisor that read it is gone; so is the place where this could be told
            return len(content)


class _Told(io.StringIO):
    """Hands each line on instead of keeping it."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        super().__init__()
        self._on_line = on_line

    @override
    def write(self, text: str, /) -> int:
        for line in text.splitlines():
            self._on_line(line)
        return len(text)


class _Bridge(logging.Handler):
    """Hands lines of the standard `logging` to our logger."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    @override
    def emit(self, record: logging.LogRecord) -> None:
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        self._logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=exc_info)


def _adopt_libraries(logger: Logger) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(logger)]
    root.setLevel(logging.WARNING)
