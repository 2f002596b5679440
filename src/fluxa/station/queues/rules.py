"""Pure decisions of the queue routes: what a request means, and the JSON forms of what the engines hand over."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.dead_letters.choice import RedrivePlan, class_of
from fluxa.queue.dead_letters.tasks import RedriveTask
from fluxa.queue.health.facts import Measure, QueueHealth, Snapshot, State, Watermark
from fluxa.queue.record import DeadLetter
from fluxa.queue.worker.drain import Drained
from fluxa.resilience.breaker import BreakerState
from fluxa.station.queues.schemas import (
    DrainOutcomes,
    DrainResult,
    DrainSummary,
    LetterView,
    QueuesVerdict,
    RedrivePlanView,
    RedriveRequest,
    Skipped,
    Verdict,
    WholeLetterView,
)

ClassOf = Callable[[str], RetryClass]
"""The class of an error code in a queue."""

_WELL = frozenset({State.OK, State.PAUSED})


def verdict(snapshot: Snapshot) -> QueuesVerdict:
    """Whether the queues are well; those of other programs are neither judged nor named.

    A queue that is paused on purpose and one that is empty are well. Dead letters alone degrade: they wait for a
    person, and no process becomes better by a restart.
    """
    ours = [health for health in snapshot.queues if not health.foreign]
    pressing = {one.queue for one in ours for mark in one.exceeded if mark.measure is not Measure.DEAD}
    if pressing or (ours and all(one.watermark is Watermark.UNKNOWN for one in ours)):
        status = Verdict.UNHEALTHY
    elif any(one.state not in _WELL or one.exceeded for one in ours):
        status = Verdict.DEGRADED
    else:
        status = Verdict.HEALTHY
    return QueuesVerdict(
        status=status,
        queues={one.queue: one.state for one in ours},
        exceeded={one.queue: [mark.measure for mark in one.exceeded] for one in ours if one.exceeded},
    )


def view(letter: DeadLetter, of_code: ClassOf) -> LetterView:
    """A dead letter in a list."""
    return LetterView(**_facts(letter, of_code))


def whole_view(letter: DeadLetter, of_code: ClassOf) -> WholeLetterView:
    """A dead letter on its own."""
    body = letter.record.body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return WholeLetterView(**_facts(letter, of_code), body=None, body_base64=body)
    return WholeLetterView(**_facts(letter, of_code), body=text, body_base64=None)


def _facts(letter: DeadLetter, of_code: ClassOf) -> dict[str, Any]:
    record = letter.record
    return {
        "id": letter.message_id,
        "queue": letter.queue,
        "record_id": record.id,
        "key": record.key,
        "correlation_id": record.correlation_id,
        "content_type": record.content_type,
        "body_bytes": len(record.body),
        "headers": record.headers,
        "created_at": record.created_at,
        "error_code": letter.code,
        "retry_class": class_of(letter, of_code),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "redrives": record.redrives,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "readable": letter.readable,
    }


def meant(request: RedriveRequest) -> DeadLetterFilter:
    """Which dead letters a request means.

    Raises:
        FluxaError: `InvalidRequest`, if it names none and does not say that it means all.
    """
    which = DeadLetterFilter(
        codes=request.codes,
        message_ids=request.message_ids,
        record_ids=request.record_ids,
        keys=request.keys,
        failed_from=request.failed_from,
        failed_before=request.failed_before,
    )
    if which == DeadLetterFilter() and not request.all:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            "Nothing says which dead letters are meant: give codes, message_ids, record_ids, keys or a time, or all.",
            pointer="/all",
        )
    return which


def is_same_order(task: RedriveTask, queue: str, which: DeadLetterFilter, request: RedriveRequest) -> bool:
    """Whether a redrive is the one that a request orders, apart from what was frozen when it was ordered."""
    ordered = (task.queue, replace(task.meant, up_to=None), set(task.forced), task.redrives_max, task.rate_per_s)
    return ordered == (queue, which, set(request.force), request.redrives_max, request.rate_per_s)


def plan_view(plan: RedrivePlan) -> RedrivePlanView:
    """A dry run."""
    return RedrivePlanView(
        total=plan.total,
        moving=plan.moving,
        by_code=dict(plan.by_code),
        by_class={str(kind): count for kind, count in plan.by_class.items()},
        refused=plan.refused,
        refused_by_code=dict(plan.refused_by_code),
        looped=plan.looped,
        quarantined=plan.quarantined,
    )


def has_work(health: QueueHealth) -> bool:
    """Whether a drain has anything to say of a queue: it holds messages, or cannot tell (QUEUE-7)."""
    return health.queue_length is None or health.queue_length > 0


def left_alone(
    health: QueueHealth, *, has_handler: bool, is_busy: bool, is_paused: bool, is_resting: bool, now: dt.datetime
) -> Skipped | None:
    """Why a drain leaves a queue alone; None, if it works on it.

    Args:
        health: how the queue is, by all its workers' reports.
        has_handler: whether this process can work on it.
        is_busy: whether another call drains it.
        is_paused: whether this process knows it as paused, whatever the probe found.
        is_resting: whether its breaker is open in this process.
        now: the time.
    """
    if is_paused or health.paused:
        return Skipped.PAUSED
    if not has_handler:
        return Skipped.NO_HANDLER
    if is_busy:
        return Skipped.DRAINING
    rests = health.breaker == BreakerState.OPEN and health.rests_until is not None and health.rests_until > now
    return Skipped.BREAKER_OPEN if is_resting or rests else None


def worked_on(before: QueueHealth, drained: Drained, after: QueueHealth) -> DrainResult:
    """What a drain did to a queue. Records that failed are no success, even though none of them is lost."""
    detail = drained.trouble or before.unknown.get("metrics", "")
    return DrainResult(
        queue=before.queue,
        success=not (drained.retried or drained.dead or drained.is_resting or drained.trouble),
        queue_length=before.queue_length,
        processed=drained.done,
        outcomes=DrainOutcomes(
            done=drained.done,
            retried=drained.retried,
            dead=drained.dead,
            snoozed=drained.snoozed,
            lost=drained.lost,
        ),
        remaining=after.queue_length,
        detail="its breaker opened: it rests now" if drained.is_resting and not detail else detail,
    )


def summarize(before: Sequence[QueueHealth], results: list[DrainResult]) -> DrainSummary:
    """All queues together."""
    return DrainSummary(
        total_queues=len(before),
        queues_with_messages=sum(bool(health.queue_length) for health in before),
        queues_unknown=sum(health.queue_length is None for health in before),
        queues_processed=sum(result.skipped is None for result in results),
        total_messages_processed=sum(result.processed for result in results),
        results=results,
    )
