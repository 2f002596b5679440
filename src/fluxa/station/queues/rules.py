"""Pure decisions of the queue routes: what a request means, and the JSON forms of what the engines hand over."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.dead_letters.choice import RedrivePlan, class_of
from fluxa.queue.dead_letters.tasks import RedriveTask
from fluxa.queue.health.facts import Measure, Snapshot, State, Watermark
from fluxa.queue.record import DeadLetter
from fluxa.station.queues.schemas import (
    LetterView,
    QueuesVerdict,
    RedrivePlanView,
    RedriveRequest,
    Verdict,
    WholeLetterView,
)

ClassOf = Callable[[str], RetryClass]
"""The class of an error code in a queue."""

_WELL = frozenset({State.OK, State.PAUSED})

LETTER_ID_PATTERN = r"^[0-9]{1,18}$"
"""What the id of a dead letter looks like, as OpenAPI says it."""


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
