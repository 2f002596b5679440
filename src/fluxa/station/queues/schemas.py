"""What the queue routes take and answer. Not: how it is found, or the drain's own report (drain)."""

import datetime as dt
import enum
from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.kernel.errors import RetryClass
from fluxa.queue.dead_letters.choice import REDRIVES_MAX
from fluxa.queue.dead_letters.quarantine import Quarantined
from fluxa.queue.dead_letters.tasks import RedriveTask
from fluxa.queue.health.facts import Measure, State
from fluxa.web.queries import PLAIN_TEXT, TEXT_MAX

LETTER_ID_PATTERN = r"^[0-9]{1,18}$"
"""What the id of a dead letter looks like, as OpenAPI says it."""

REDRIVE_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
"""What the id of a redrive looks like."""

Reason = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"\S")]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX, pattern=PLAIN_TEXT)]
Names = Annotated[tuple[Text, ...], Meta(max_length=500)]
Ids = Annotated[tuple[Annotated[str, Meta(pattern=LETTER_ID_PATTERN)], ...], Meta(max_length=10_000)]
Moment = Annotated[dt.datetime, Meta(tz=True)]


class Verdict(enum.StrEnum):
    """Whether the queues are well."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Work goes on, and somebody should look: dead letters, a resting, failing, unserved or unknown queue."""
    UNHEALTHY = "unhealthy"
    """A queue is deeper or older than its watermark, or nothing is known of any queue."""


class QueuesVerdict(msgspec.Struct, frozen=True):
    """What monitors are told.

    Attributes:
        status: the verdict on all queues together.
        queues: the one word about each, by name.
        exceeded: which watermarks are exceeded, by queue.
    """

    status: Verdict
    queues: dict[str, State]
    exceeded: dict[str, list[Measure]]


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a queue is paused.

    Attributes:
        reason: for whoever finds it paused.
    """

    reason: Reason


class ControlView(msgspec.Struct, frozen=True, kw_only=True):
    """The last word about a queue.

    Attributes:
        queue: which one.
        paused: whether nothing is claimed from it.
        by: who said so.
        reason: why.
        changed_at: when.
    """

    queue: str
    paused: bool
    by: str
    reason: str
    changed_at: dt.datetime


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its body.

    Attributes:
        id: in the dead-letter queue.
        queue: where it came from.
        record_id: the record's id; of an event, the event's.
        key: what its order is kept by; null if nothing.
        correlation_id: the story it belongs to.
        content_type: what its body is.
        body_bytes: how long its body is.
        headers: small facts that travelled with it.
        created_at: when it was first sent.
        error_code: what parked it.
        retry_class: what may be done with it: transient, permanent or security.
        reason: the error's text.
        attempts: attempts made in all.
        redrives: how often it was sent back before.
        first_failed_at: when the first attempt failed.
        last_failed_at: when the last one did.
        readable: whether the message could be read; if not, its body is the message as it lies there.
    """

    id: str
    queue: str
    record_id: str
    key: str | None
    correlation_id: str
    content_type: str
    body_bytes: int
    headers: dict[str, str]
    created_at: dt.datetime
    error_code: str
    retry_class: RetryClass
    reason: str
    attempts: int
    redrives: int
    first_failed_at: dt.datetime
    last_failed_at: dt.datetime
    readable: bool


class WholeLetterView(LetterView, frozen=True, kw_only=True):
    """A dead letter with its body.

    Attributes:
        body: the body, where it is text; else null.
        body_base64: the body, where it is not; else null.
    """

    body: str | None
    body_base64: bytes | None


class LetterPage(msgspec.Struct, frozen=True):
    """A page of dead letters, oldest first.

    Attributes:
        items: the letters.
        next: `after` of the next page; null on the last one.
    """

    items: list[LetterView]
    next: str | None


class RedriveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters go back, and how. Several filters narrow each other.

    Attributes:
        codes: only letters of these error codes.
        message_ids: only these dead letters.
        record_ids: only letters of these records.
        keys: only letters of these keys.
        failed_from: only what failed last at this time or later.
        failed_before: only what failed last before this time.
        all: said when no filter is: all letters that may go back.
        force: permanent or security codes whose letters are meant to go back all the same.
        redrives_max: letters sent back so often stay; null: any number.
        rate_per_s: letters a second at most; null: as fast as it goes.
        dry_run: only say what would go back.
        redrive_id: names the redrive; a request that is repeated under the same name orders nothing new.
    """

    codes: Names = ()
    message_ids: Ids = ()
    record_ids: Names = ()
    keys: Names = ()
    failed_from: Moment | None = None
    failed_before: Moment | None = None
    all: bool = False
    force: Names = ()
    redrives_max: Annotated[int, Meta(ge=1, le=1_000_000)] | None = REDRIVES_MAX
    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    dry_run: bool = False
    redrive_id: Annotated[str, Meta(pattern=REDRIVE_ID_PATTERN)] | None = None


class RedrivePlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What a redrive would do now.

    Attributes:
        total: letters that are meant.
        moving: how many would go back.
        by_code: these by error code.
        by_class: these by retry class.
        refused: how many would stay: their class forbids it, or they were sent back too often.
        refused_by_code: these by error code.
        looped: how many would stay because they were sent back too often.
        quarantined: how many would be quarantined, since they were altered.
    """

    total: int
    moving: int
    by_code: dict[str, int]
    by_class: dict[str, int]
    refused: int
    refused_by_code: dict[str, int]
    looped: int
    quarantined: int


class RedriveList(msgspec.Struct, frozen=True):
    """Redrives, the newest first.

    Attributes:
        items: the redrives.
    """

    items: list[RedriveTask]


class QuarantinePage(msgspec.Struct, frozen=True):
    """A page of messages in quarantine, first found first.

    Attributes:
        items: the messages.
        next: `after` of the next page; null on the last one.
    """

    items: list[Quarantined]
    next: str | None


class DrainRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to work, and on what.

    Attributes:
        budget_s: seconds in which new work is begun; never more than the setting allows, which is also the default.
        queues: only these; all if not given.
    """

    budget_s: Annotated[float, Meta(gt=0, le=3600)] | None = None
    queues: Names | None = None


class Skipped(enum.StrEnum):
    """Why a queue was left alone."""

    PAUSED = "paused"
    NO_HANDLER = "no_handler"
    """Nothing in this process works on it: another one may."""
    DRAINING = "draining"
    """Another call drains it at this moment."""
    BREAKER_OPEN = "breaker_open"
    """All its work failed lately; it rests, so that no attempts are burnt."""


class DrainOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What became of records.

    Attributes:
        done: finished.
        retried: failed, to be tried again.
        dead: failed for good, and parked.
        snoozed: given back without an attempt.
        lost: messages that another worker had in the end.
    """

    done: int = 0
    retried: int = 0
    dead: int = 0
    snoozed: int = 0
    lost: int = 0


class DrainResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One queue that had work, or of which that is not known.

    Attributes:
        queue: which one.
        success: whether nothing failed and nothing was in the way; a queue that was left alone on purpose counts.
        queue_length: messages it held before; null if unknown.
        processed: records that are finished now.
        outcomes: what became of all that were tried.
        remaining: messages it holds now, delayed ones included; null if unknown.
        skipped: why it was left alone; null if it was worked on.
        detail: what was in the way; empty if nothing.
    """

    queue: str
    success: bool
    queue_length: int | None
    processed: int = 0
    outcomes: DrainOutcomes = DrainOutcomes()
    remaining: int | None = None
    skipped: Skipped | None = None
    detail: str = ""


class DrainSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All queues together.

    Attributes:
        total_queues: queues that were looked at.
        queues_with_messages: how many of them held messages before.
        queues_unknown: how many could not tell; they were tried all the same.
        queues_processed: how many were worked on.
        total_messages_processed: records that are finished now.
        results: the queues that had work or could not tell, most urgent first.
    """

    total_queues: int
    queues_with_messages: int
    queues_unknown: int
    queues_processed: int
    total_messages_processed: int
    results: list[DrainResult]


class DrainAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a drain did. Names are in camel case here, as the callers that this route took over expect them.

    Attributes:
        success: whether it was a success for every queue.
        elapsed_seconds: how long it took.
        summary: the rest.
    """

    success: bool
    elapsed_seconds: float
    summary: DrainSummary
