"""Every signal, metric and label of Fluxa, once. A house test compares this list with the code."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

import msgspec


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


@dataclass(frozen=True, slots=True)
class RecordRetried:
    """A record failed and will be tried again."""

    queue: str
    error_code: str
    attempt: int


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
)

Hook = Callable[[Signal], None]
"""What engines call; must not block and must not raise."""


def silent(_signal: Signal) -> None:
    """The hook of one who does not listen."""


class Kind(enum.StrEnum):
    """Kinds of Prometheus metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; names and units as Prometheus asks (base units, `_total`).

    Attributes:
        name: the family's name as scraped.
        kind: counter, gauge or histogram.
        help: what it counts.
        labels: label names, all of bounded cardinality.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_HTTP = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

METRICS: tuple[Metric, ...] = (
    Metric(
        "fluxa_stage_events_total",
        Kind.COUNTER,
        "Events that finished a stage",
        ("stage", "status", "error_code"),
    ),
    Metric("fluxa_stage_duration_seconds", Kind.HISTOGRAM, "Seconds a stage took", ("stage",), _FAST),
    Metric("fluxa_events_duplicate_total", Kind.COUNTER, "Events acknowledged that were stored before"),
    Metric(
        "fluxa_records_parked_total",
        Kind.COUNTER,
        "Records sent to the dead letters",
        ("queue", "error_code", "retry_class"),
    ),
    Metric(
        "fluxa_records_retried_total",
        Kind.COUNTER,
        "Failed attempts that will be repeated",
        ("queue", "error_code"),
    ),
    Metric("fluxa_leases_lost_total", Kind.COUNTER, "Deliveries lost to another worker", ("queue",)),
    Metric(
        "fluxa_flush_events",
        Kind.HISTOGRAM,
        "Events written by one flush",
        (),
        (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
    ),
    Metric("fluxa_flush_duration_seconds", Kind.HISTOGRAM, "Seconds a flush took", ("status",), _FAST),
    Metric(
        "http_request_duration_seconds",
        Kind.HISTOGRAM,
        "Seconds a request took",
        ("method", "route", "status_code"),
        _HTTP,
    ),
    Metric("http_requests_active", Kind.GAUGE, "Requests being answered", ("method", "route")),
    Metric(
        "http_requests_errors_total",
        Kind.COUNTER,
        "Requests answered with a 5xx",
        ("method", "route", "status_code"),
    ),
    Metric("fluxa_outages_total", Kind.COUNTER, "Times a dependency stopped answering", ("dependency",)),
    Metric("fluxa_dependency_up", Kind.GAUGE, "1 while a dependency answers", ("dependency",)),
    Metric(
        "fluxa_process_restarts_total",
        Kind.COUNTER,
        "Times the supervisor started a process again",
        ("process",),
    ),
    Metric("fluxa_maintenance_total", Kind.COUNTER, "Turns of background duties", ("task", "status")),
    Metric(
        "fluxa_queue_depth",
        Kind.GAUGE,
        "Messages in a queue, read when scraped; absent when unknown",
        ("queue",),
    ),
    Metric(
        "fluxa_queue_oldest_age_seconds",
        Kind.GAUGE,
        "Age of the oldest message; absent when unknown",
        ("queue",),
    ),
    Metric("fluxa_queue_dead", Kind.GAUGE, "Messages in the dead-letter queue; absent when unknown", ("queue",)),
)
"""All metrics."""

LOG_FIELDS: tuple[str, ...] = (
    "timestamp",
    "level",
    "event",
    "service",
    "correlation_id",
    "event_id",
    "stage",
    "status",
    "error_code",
    "latency_ms",
    "events",
    "detail",
)
"""The fields of a log line that others may rely on (PIPE-10)."""
