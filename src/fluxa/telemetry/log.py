"""Structured JSON logs, fed by signals and by the few places that have something to say in words."""

import dataclasses
import logging
import sys
import time
from typing import TextIO, assert_never

import structlog

from fluxa.kernel.errors import RetryClass
from fluxa.telemetry import catalogue as c
from fluxa.telemetry import trace
from fluxa.telemetry.redaction import HIDDEN, is_secret_name, redacted

Logger = structlog.typing.FilteringBoundLogger
"""What the rest of Fluxa calls a logger."""


_OfWatching = (
    c.StatementSlow | c.QueuePaused | c.QueueResumed | c.ProbeFailed | c.WatermarkExceeded | c.WatermarkCleared
)


def make_logger(service: str, *, level: str = "info", stream: TextIO | None = None) -> Logger:
    """A logger that writes one JSON object a line, with `service` in each.

    Args:
        service: ingest, processor, query, …
        level: debug, info, warning or error.
        stream: where to; standard error if not given.
    """
    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    return logger.bind(service=service)


def _with_trace(_logger: object, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The span that the line was written in, by the names that log collectors look for."""
    if (found := trace.ids()) is not None:
        fields["trace_id"], fields["span_id"] = found
    return fields


def _without_secrets(_logger: object, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in fields.items():
        fields[name] = HIDDEN if value is not None and is_secret_name(name) else redacted(value)
    return fields


_PROBE_SILENCE_S = 60.0


def correlate(correlation_id: str) -> None:
    """From now on every line of this task tells of this story; an empty text: of none."""
    if correlation_id:
        structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
    else:
        structlog.contextvars.unbind_contextvars("correlation_id")


class LogHook:
    """Writes signals as log lines; successes of single events are limited, failures never.

    Args:
        logger: where to.
        successes_per_s: most success lines a second; what is left out is counted in the next line.
    """

    def __init__(self, logger: Logger, *, successes_per_s: int = 50) -> None:
        self._logger = logger
        self._limit = successes_per_s
        self._second = 0
        self._written = 0
        self._left_out = 0
        self._probes_told_s: dict[tuple[str, str], float] = {}

    def hear(self, signal: c.Signal) -> None:  # noqa: C901, PLR0912 - one case a signal is the clearest form
        """Turn a signal into a log line, or none."""
        match signal:
            case (  # first what metrics tell: every request says two of these, and cases are tried one after the other
                c.RequestServed()
                | c.RequestStarted()
                | c.FlushFinished()
                | c.ActRecorded()
                | c.LedgerAnchored()
                | c.IntegrityChecked()
                | c.LedgerSent()
                | c.RedrivesSeen()
                | c.RecordsSettled()
                | c.HandlersReturned()
                | c.DuplicatesAcknowledged()
            ):
                pass
            case c.StageFinished():
                self._stage(signal)
            case c.RecordParked():
                self._parked(signal)
            case c.RecordRetried():
                self._retried(signal)
            case c.LeasesLost():
                self._logger.warning("leases lost", queue=signal.queue, messages=signal.messages)
            case c.OutageBegan():
                self._logger.error("outage began", dependency=signal.dependency, detail=signal.detail)
            case c.OutageEnded():
                self._logger.info("outage ended", dependency=signal.dependency, duration_s=round(signal.duration_s, 3))
            case c.ProcessRestarted():
                self._logger.error("process restarted", **dataclasses.asdict(signal))
            case c.MaintenanceFinished():
                self._maintenance(signal)
            case c.CallFinished():
                self._call(signal)
            case c.NativeDeadLettersSwept():
                self._swept(signal)
            case c.ScheduleRan():
                self._schedule(signal)
            case c.TokenRefused() | c.AuthenticationFailed() | c.RefreshReused() | c.RoleBindingChanged():
                self._access(signal)
            case (
                c.StatementSlow()
                | c.QueuePaused()
                | c.QueueResumed()
                | c.ProbeFailed()
                | c.WatermarkExceeded()
                | c.WatermarkCleared()
            ):
                self._watching(signal)
            case c.AlarmTold() | c.FlagChanged() | c.SyntheticChecked():
                self._word(signal)
            case c.RedriveAdvanced():
                self._redrive_advanced(signal)
            case c.RedriveEnded():
                self._redrive_ended(signal)
            case c.BreakerChanged() | c.MemoryLow() | c.MemoryRecovered() | c.LoopBlocked():
                self._limits(signal)
            case _:
                assert_never(signal)

    def _word(self, signal: c.AlarmTold | c.FlagChanged | c.SyntheticChecked) -> None:
        """What somebody is told, or has said."""
        if isinstance(signal, c.SyntheticChecked):
            self._synthetic(signal)
            return
        if isinstance(signal, c.FlagChanged):
            self._logger.warning("flag changed", **dataclasses.asdict(signal))
            return
        tell = self._logger.warning if signal.notice in ("firing", "repeated", "unknown") else self._logger.info
        tell("alarm told", **dataclasses.asdict(signal))

    def _synthetic(self, signal: c.SyntheticChecked) -> None:
        """One that is well is told when it was not before, and by metrics else."""
        fields = {"check": signal.check, "target": signal.target, "status": signal.result, "detail": signal.detail}
        if signal.result != "ok":
            self._logger.warning("synthetic check", **fields)
        elif signal.changed:
            self._logger.info("synthetic check", **fields)

    def _access(self, signal: c.TokenRefused | c.AuthenticationFailed | c.RefreshReused | c.RoleBindingChanged) -> None:
        match signal:
            case c.RefreshReused():
                self._logger.warning("refresh token reused, session ended", **dataclasses.asdict(signal))
            case c.TokenRefused():
                self._logger.warning("token refused", reason=signal.reason)
            case c.AuthenticationFailed():
                self._logger.warning("Authentication failed", **dataclasses.asdict(signal))
            case c.RoleBindingChanged():
                self._logger.warning("role binding changed", **dataclasses.asdict(signal))

    def _watching(self, signal: _OfWatching) -> None:
        """What is noticed of queues and of the database from outside."""
        match signal:
            case c.StatementSlow():
                latency_ms = round(signal.latency_s * 1000, 3)
                self._logger.warning("slow statement", statement=signal.statement, latency_ms=latency_ms)
            case c.QueuePaused():
                self._logger.warning("queue paused", queue=signal.queue, by=signal.by, reason=signal.reason)
            case c.QueueResumed():
                self._logger.info("queue resumed", queue=signal.queue)
            case c.ProbeFailed():
                self._probe_failed(signal)
            case c.WatermarkExceeded():
                self._logger.warning("watermark exceeded", **dataclasses.asdict(signal))
            case c.WatermarkCleared():
                self._logger.info("watermark cleared", **dataclasses.asdict(signal))

    def _redrive_advanced(self, signal: c.RedriveAdvanced) -> None:
        """Each chunk would be too much to read; what was altered must be seen."""
        if signal.quarantined:
            self._logger.error(
                "dead letters quarantined",
                queue=signal.queue,
                redrive_id=signal.redrive_id,
                messages=signal.quarantined,
            )

    def _redrive_ended(self, signal: c.RedriveEnded) -> None:
        tell = self._logger.error if signal.detail else self._logger.info
        tell(
            "redrive ended",
            queue=signal.queue,
            redrive_id=signal.redrive_id,
            status=signal.state,
            moved=signal.moved,
            refused=signal.refused,
            quarantined=signal.quarantined,
            detail=signal.detail,
        )

    def _probe_failed(self, signal: c.ProbeFailed) -> None:
        """One line a minute for each thing that is unknown: it is asked for every few seconds."""
        now_s, which = time.monotonic(), (signal.queue, signal.probe)
        if now_s - self._probes_told_s.get(which, -_PROBE_SILENCE_S) < _PROBE_SILENCE_S:
            return
        self._probes_told_s[which] = now_s
        self._logger.warning(
            "queue health unknown",
            queue=signal.queue,
            probe=signal.probe,
            error_code=signal.error_code,
            detail=signal.detail,
        )

    def _limits(self, signal: c.BreakerChanged | c.MemoryLow | c.MemoryRecovered | c.LoopBlocked) -> None:
        match signal:
            case c.BreakerChanged():
                tell = self._logger.info if signal.state == "closed" else self._logger.warning
                tell(
                    "breaker changed",
                    queue=signal.queue,
                    state=signal.state,
                    rest_s=round(signal.rest_s, 3),
                    error_code=signal.error_code,
                )
            case c.MemoryLow():
                self._logger.error("memory low", used_bytes=signal.used_bytes, limit_bytes=signal.limit_bytes)
            case c.MemoryRecovered():
                self._logger.info("memory recovered", used_bytes=signal.used_bytes, limit_bytes=signal.limit_bytes)
            case c.LoopBlocked():
                self._logger.warning("event loop blocked", blocked_s=round(signal.blocked_s, 3))

    def _swept(self, signal: c.NativeDeadLettersSwept) -> None:
        if signal.messages:
            self._logger.warning(
                "native dead letters swept",
                queue=signal.queue,
                messages=signal.messages,
                oldest_age_s=round(signal.oldest_age_s),
            )

    def _maintenance(self, signal: c.MaintenanceFinished) -> None:
        if signal.status is c.Status.FAILURE:
            self._logger.warning(
                "maintenance failed", task=signal.task, error_code=signal.error_code, detail=signal.detail
            )
        else:
            self._logger.debug("maintenance finished", task=signal.task, latency_ms=round(signal.latency_s * 1000, 3))

    def _call(self, signal: c.CallFinished) -> None:
        """Failures are told one by one; what was kept here or went well is told by metrics."""
        if signal.ending in (c.CallEnding.DELIVERED, c.CallEnding.NOT_SENT):
            return
        self._logger.warning(
            "call failed",
            target=signal.target,
            status=signal.ending,
            error_code=signal.error_code,
            latency_ms=round(signal.latency_s * 1000, 3),
            correlation_id=signal.correlation_id,
            detail=signal.detail,
        )

    def _retried(self, signal: c.RecordRetried) -> None:
        self._logger.warning(
            "record retried",
            queue=signal.queue,
            error_code=signal.error_code,
            attempt=signal.attempt,
            event_id=signal.event_id,
            correlation_id=signal.correlation_id,
            detail=signal.detail,
        )

    def _schedule(self, signal: c.ScheduleRan) -> None:
        tell = self._logger.warning if signal.status in ("failed", "skipped") else self._logger.info
        fields = {"error_code": signal.error_code, "detail": signal.detail} if signal.detail else {}
        tell("schedule ran", schedule=signal.schedule, status=signal.status, late_s=round(signal.late_s, 3), **fields)

    def _parked(self, signal: c.RecordParked) -> None:
        """Something tampered with is an error that somebody must see; the rest can wait for the morning."""
        tell = self._logger.error if signal.retry_class == RetryClass.SECURITY else self._logger.warning
        tell(
            "record parked",
            queue=signal.queue,
            error_code=signal.error_code,
            retry_class=signal.retry_class,
            event_id=signal.event_id,
            correlation_id=signal.correlation_id,
            detail=signal.detail,
        )

    def _stage(self, signal: c.StageFinished) -> None:
        failed = signal.status is c.Status.FAILURE
        if not failed and not self._may_write():
            return
        fields: dict[str, object] = {
            "stage": signal.stage,
            "status": signal.status,
            "events": signal.events,
            "latency_ms": round(signal.latency_s * 1000, 3),
        }
        for name in ("correlation_id", "event_id", "error_code", "detail"):
            if value := getattr(signal, name):
                fields[name] = value
        if failed:
            self._logger.warning("stage finished", **fields)
            return
        if self._left_out:
            fields["left_out"] = self._left_out
            self._left_out = 0
        self._logger.info("stage finished", **fields)

    def _may_write(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        if self._written <= self._limit:
            return True
        self._left_out += 1
        return False


def fan_out(*hooks: c.Hook) -> c.Hook:
    """One hook that tells several."""

    def hear(signal: c.Signal) -> None:
        for hook in hooks:
            hook(signal)

    return hear
