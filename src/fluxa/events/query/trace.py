"""Tells the story of a correlation id: every stage of every event, with times, attempts and errors (PIPE-8)."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from fluxa.events.query.schemas import EventStory, StageRecord, State, Trace
from fluxa.events.query.store import EventReads
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.transaction import Row
from fluxa.telemetry.catalogue import Stage, Status

NOTE = "An event that was accepted and has neither been stored nor failed yet is still in the queue and not shown here."

_Key = tuple[str, str | None]


async def trace(reads: EventReads, tenant: Tenant, correlation_id: str, event_id: str | None, limit: int) -> Trace:
    """The story of a correlation id, or of one event in it.

    Raises:
        FluxaError: `NotFound` when nothing is known (yet).
    """
    if "\x00" in correlation_id or "\x00" in (event_id or ""):
        events: Sequence[Row] = ()
        failures: Sequence[Row] = ()
    else:
        events, failures = await reads.trace(tenant, correlation_id, event_id, limit + 1)
    stories = _stories(events, failures)
    if not stories:
        raise FluxaError(
            ErrorCode.NOT_FOUND,
            "Nothing is known under this correlation id. An event that was accepted a moment ago appears once a "
            "processor has had it.",
            retry_after_s=1,
        )
    stories.sort(key=lambda story: (story.stages[0].at, story.id))
    return Trace(
        correlation_id=correlation_id,
        events=stories[:limit],
        truncated=len(stories) > limit,
        note=NOTE,
    )


def _stories(events: Iterable[Row], failures: Iterable[Row]) -> list[EventStory]:
    """One story an event; a failure of an event that could not be read is told by its id alone."""
    failed: dict[_Key, list[Row]] = {}
    for row in failures:
        failed.setdefault((row["id"], row["source"]), []).append(row)
    stories = [_stored(row, failed.pop((row["id"], row["source"]), [])) for row in events]
    stories += [_failed(key, rows) for key, rows in failed.items()]
    return stories


def _stored(row: Row, failures: Sequence[Row]) -> EventStory:
    stages = [
        StageRecord(stage=Stage.VALIDATE, status=Status.SUCCESS, at=row["received_at"]),
        _success(Stage.ENQUEUE, row["received_at"], row["enqueued_at"]),
        *(_failure(failure) for failure in failures),
        _success(Stage.PROCESS, row["enqueued_at"], row["claimed_at"], row["attempt"]),
        _success(Stage.PERSIST, row["claimed_at"], row["stored_at"], row["attempt"]),
    ]
    return EventStory(
        id=row["id"],
        source=row["source"],
        type=row["type"],
        state=State.STORED,
        attempts=max([row["attempt"], *(failure["attempt"] for failure in failures)]),
        acknowledged=row["seen"],
        stages=stages,
    )


def _failed(key: _Key, failures: Sequence[Row]) -> EventStory:
    return EventStory(
        id=key[0],
        source=key[1],
        type=None,
        state=_state(failures[-1]),
        attempts=max(failure["attempt"] for failure in failures),
        acknowledged=None,
        stages=[_failure(failure) for failure in failures],
    )


def _state(last: Row) -> State:
    """Where an event is whose row is not at hand: it may be stored under another story, or beyond the limit."""
    if last["stored"]:
        return State.STORED
    return State.PARKED if last["parked"] else State.RETRYING


def _success(stage: Stage, begun: dt.datetime, ended: dt.datetime, attempt: int | None = None) -> StageRecord:
    # The clocks of two machines may differ by more than a stage took.
    latency_ms = max(0.0, round((ended - begun).total_seconds() * 1000, 3))
    return StageRecord(stage=stage, status=Status.SUCCESS, at=ended, latency_ms=latency_ms, attempt=attempt)


def _failure(row: Any) -> StageRecord:  # noqa: ANN401 - a row's columns are of any type
    return StageRecord(
        stage=row["stage"],
        status=Status.FAILURE,
        at=row["at"],
        attempt=row["attempt"],
        error_code=row["error_code"],
        detail=row["detail"],
    )
