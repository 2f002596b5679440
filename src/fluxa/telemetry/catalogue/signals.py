"""Every signal that engines give, once; a house test compares this list with the code."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from fluxa.telemetry.catalogue.access import AuthenticationFailed, RoleBindingChanged
from fluxa.telemetry.catalogue.alarms import AlarmTold
from fluxa.telemetry.catalogue.audit import ActRecorded, IntegrityChecked, LedgerAnchored, LedgerSent
from fluxa.telemetry.catalogue.flags import FlagChanged
from fluxa.telemetry.catalogue.identity import RefreshReused, TokenRefused
from fluxa.telemetry.catalogue.watching import OfWatching
from fluxa.telemetry.catalogue.work import (
    BreakerChanged,
    HandlersReturned,
    LoopBlocked,
    MemoryLow,
    MemoryRecovered,
    RecordsSettled,
)


class Stage(enum.StrEnum):
    """The stages of an event (spec PIPE-10)."""

    VALIDATE = "validate"
    ENQUEUE = "enqueue"
    PROCESS = "process"
    PERSIST = "persist"


class Status(enum.StrEnum):
    """How a stage ended."""

    SUCCESS = "success"
    FAILURE = "failure"


class StageFinished(msgspec.Struct, frozen=True, gc=False):
    """One or more events went through a stage together.

    This one and those of requests are made several times a request; as structs they cost a sixth of dataclasses.

    Attributes:
        stage: which one.
        status: how it ended.
        events: how many events.
        latency_s: seconds it took for all of them.
        error_code: why it failed; empty on success.
        correlation_id: their story, if they share one.
        event_id: which event, if it is one.
        detail: the error's text.
    """

    stage: Stage
    status: Status
    events: int
    latency_s: float
    error_code: str = ""
    correlation_id: str = ""
    event_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DuplicatesAcknowledged:
    """Events that were stored before came again and were acknowledged."""

    events: int


@dataclass(frozen=True, slots=True)
class RecordParked:
    """A record went to the dead letters."""

    queue: str
    error_code: str
    retry_class: str
    event_id: str = ""
    correlation_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RecordRetried:
    """A record failed and will be tried again."""

    queue: str
    error_code: str
    attempt: int
    event_id: str = ""
    correlation_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeasesLost:
    """Deliveries were claimed by another worker before they were settled."""

    queue: str
    messages: int


@dataclass(frozen=True, slots=True)
class FlushFinished:
    """The collector wrote one flush; `events` of them in `envelopes` messages."""

    events: int
    envelopes: int
    latency_s: float
    status: Status


class RequestServed(msgspec.Struct, frozen=True, gc=False):
    """An HTTP request was answered."""

    route: str
    method: str
    status: int
    latency_s: float


class RequestStarted(msgspec.Struct, frozen=True, gc=False):
    """An HTTP request began; balances with `RequestServed`."""

    route: str
    method: str


@dataclass(frozen=True, slots=True)
class OutageBegan:
    """Something the service needs does not answer."""

    dependency: str
    detail: str


@dataclass(frozen=True, slots=True)
class OutageEnded:
    """It answers again."""

    dependency: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class ProcessRestarted:
    """The supervisor started a process again after it ended by itself."""

    process: str
    exit_code: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class MaintenanceFinished:
    """A background duty had its turn.

    Attributes:
        task: which duty.
        status: how it ended; a failed turn is repeated soon.
        latency_s: seconds it took.
        error_code: why it failed; empty on success.
        detail: the error's text.
    """

    task: str
    status: Status
    latency_s: float
    error_code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class QueuePaused:
    """This process learnt that an operator paused a queue: it claims nothing from it."""

    queue: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class QueueResumed:
    """This process learnt that a queue is not paused any more."""

    queue: str


@dataclass(frozen=True, slots=True)
class RedriveAdvanced:
    """A redrive looked at some dead letters.

    Attributes:
        redrive_id: which one.
        queue: whose letters.
        moved: letters that are back in their queue.
        refused: letters that stay.
        quarantined: letters that were altered.
        gone: letters that were not there any more.
        latency_s: seconds it took.
    """

    redrive_id: str
    queue: str
    moved: int
    refused: int
    quarantined: int
    gone: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class RedriveEnded:
    """A redrive is done, or failed; its counts are those of its whole life."""

    redrive_id: str
    queue: str
    state: str
    moved: int
    refused: int
    quarantined: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RedrivesSeen:
    """How many redrives are to be worked on now."""

    running: int


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """Something about a queue could not be found out: it is unknown, and work goes on (QUEUE-7).

    Attributes:
        queue: which one, or `all`.
        probe: which part is unknown.
        error_code: why.
        detail: the error's text.
    """

    queue: str
    probe: str
    error_code: str
    detail: str


@dataclass(frozen=True, slots=True)
class WatermarkExceeded:
    """A queue holds more than it may; told once, until it has come down to four fifths of the limit (QUEUE-11).

    Attributes:
        queue: which one.
        measure: `depth`, `oldest_age_s` or `dead`.
        value: what was found, in messages or seconds.
        limit: the watermark.
        first_action: the command that says more.
    """

    queue: str
    measure: str
    value: float
    limit: float
    first_action: str


@dataclass(frozen=True, slots=True)
class WatermarkCleared:
    """A queue that held more than it may has come down again. The attributes are those of `WatermarkExceeded`."""

    queue: str
    measure: str
    value: float
    limit: float


class CallEnding(enum.StrEnum):
    """How a call of an outside service ended."""

    DELIVERED = "delivered"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    """It was sent and no answer came: it may have been done."""
    ABANDONED = "abandoned"
    """We stopped it."""
    NOT_SENT = "not_sent"
    """Its pace, its budget or its breaker kept it here."""


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call of an outside service ended.

    Attributes:
        target: which service, as it is named here.
        ending: how it ended.
        latency_s: seconds from its beginning to its end; 0 if it was not sent.
        error_code: why it failed; empty on success.
        correlation_id: the story it belongs to.
        detail: the error's text.
    """

    target: str
    ending: CallEnding
    latency_s: float
    error_code: str = ""
    correlation_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NativeDeadLettersSwept:
    """What an engine had moved aside by itself came to the dead letters.

    Attributes:
        queue: whose.
        messages: how many; mostly none.
        oldest_age_s: seconds since the oldest of them was sent; the engine forgets them after 14 days.
    """

    queue: str
    messages: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class ScheduleRan:
    """A due time of a schedule was dealt with.

    Attributes:
        schedule: which one.
        status: sent, manual, skipped or failed.
        late_s: seconds after the due time.
        error_code: why it failed; empty on success.
        detail: the error's text, or which due times were let go.
    """

    schedule: str
    status: str
    late_s: float
    error_code: str = ""
    detail: str = ""


Signal = (
    StageFinished
    | DuplicatesAcknowledged
    | RecordParked
    | RecordRetried
    | LeasesLost
    | FlushFinished
    | RequestServed
    | RequestStarted
    | OutageBegan
    | OutageEnded
    | ProcessRestarted
    | MaintenanceFinished
    | NativeDeadLettersSwept
    | RedriveAdvanced
    | RedriveEnded
    | RedrivesSeen
    | QueuePaused
    | QueueResumed
    | ProbeFailed
    | WatermarkExceeded
    | WatermarkCleared
    | CallFinished
    | RecordsSettled
    | HandlersReturned
    | BreakerChanged
    | MemoryLow
    | MemoryRecovered
    | LoopBlocked
    | ScheduleRan
    | TokenRefused
    | ActRecorded
    | OfWatching
    | AuthenticationFailed
    | LedgerAnchored
    | IntegrityChecked
    | LedgerSent
    | AlarmTold
    | RefreshReused
    | RoleBindingChanged
    | FlagChanged
)

Hook = Callable[[Signal], None]
"""What engines call; must not block and must not raise."""


def silent(_signal: Signal) -> None:
    """The hook of one who does not listen."""
