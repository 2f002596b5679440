"""What is known of a queue at one moment, as the API, the command line and the gauges show it; unknown is None."""

import datetime as dt
import enum
from collections.abc import Mapping

import msgspec

from fluxa.queue.backend import SlowFacts


class Watermark(enum.StrEnum):
    """Where a queue stands against its watermarks."""

    OK = "ok"
    HIGH = "high"
    UNKNOWN = "unknown"


class Measure(enum.StrEnum):
    """What a watermark looks at."""

    DEPTH = "depth"
    OLDEST_AGE = "oldest_age_s"
    DEAD = "dead"


class State(enum.StrEnum):
    """The one word about a queue; where several are true, the one to act on first."""

    OK = "ok"
    HIGH = "high"
    FAILING = "failing"
    UNSERVED = "unserved"
    RESTING = "resting"
    PAUSED = "paused"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class Exceeded(msgspec.Struct, frozen=True):
    """A watermark that is exceeded now.

    Attributes:
        measure: `depth`, `oldest_age_s` or `dead`.
        value: what was found, in messages or seconds.
        limit: what it may be at most.
    """

    measure: Measure
    value: float
    limit: float


class Pause(msgspec.Struct, frozen=True):
    """An operator's word that nothing is to be claimed.

    Attributes:
        by: who said so.
        reason: why.
        since: when.
    """

    by: str
    reason: str
    since: dt.datetime


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """How one living worker process fares with the queue.

    Attributes:
        worker: the process's id.
        host: its machine.
        pid: its number there.
        in_flight: records in hand.
        error_streak: failures since its last success.
        breaker: `closed`, `open` or `half_open`.
        rests_until: when the rest ends, while the breaker is open.
        done: records finished since the process began.
        retried: attempts that failed and will be repeated, since then.
        parked: records sent to the dead letters, since then.
        age_s: seconds since it said so.
    """

    worker: str
    host: str
    pid: int
    in_flight: int
    error_streak: int
    breaker: str
    rests_until: dt.datetime | None
    done: int
    retried: int
    parked: int
    age_s: float


class RedriveProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A redrive that has not ended.

    Attributes:
        redrive_id: which one.
        state: `running` or `paused`.
        total: letters it means.
        handled: letters it has looked at so far.
        moved: letters it has sent back so far.
        rate_per_s: letters a second at most; None for no limit.
    """

    redrive_id: str
    state: str
    total: int
    handled: int
    moved: int
    rate_per_s: float | None


class QueueHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One queue. What a probe could not find out is None, and `unknown` says why; want of an answer is never zero.

    Attributes:
        queue: its name.
        state: the one word about it.
        foreign: whether it is another program's: it is in the database, and the registry does not know it.
        description: what it carries.
        priority: 1 is served first.
        external: whether its records are delivered to an endpoint that settings name.
        queue_length: messages in all, delayed and leased ones included.
        exact: whether the counts were counted; else they are the engine's own estimates.
        ready: messages that a claim would find now.
        in_flight: messages under lease.
        oldest_age_s: seconds since the oldest message was sent.
        dead: messages in its dead-letter queue.
        dead_by_code: how many of them by error code.
        dead_at_least: the codes of which there may be more than that.
        last_success_at: when a record was last finished, by any worker.
        last_failure_at: when one last failed.
        last_error_code: why.
        error_streak: failures since the last success, of the worker that has most.
        breaker: the worst of the workers' breakers: `open` before `half_open` before `closed`; None without workers.
        rests_until: when the last of the rests ends.
        workers: the processes that serve it now.
        paused: whether an operator paused it.
        pause: who, why and since when.
        watermark: where it stands against its watermarks.
        exceeded: which of them are exceeded.
        redrives: redrives of it that have not ended.
        why_slow: old snapshots, dead rows, old leases, blocked keys; None unless it was asked for.
        unknown: why a part is not known, by part: `metrics`, `dead_by_code`, `reports`, `controls`, `redrives`, …
        advice: what to do, in sentences, the most pressing first.
    """

    queue: str
    state: State
    foreign: bool
    description: str
    priority: int | None
    queue_length: int | None
    exact: bool | None
    ready: int | None
    in_flight: int | None
    oldest_age_s: float | None
    dead: int | None
    dead_by_code: Mapping[str, int] | None
    dead_at_least: tuple[str, ...]
    last_success_at: dt.datetime | None
    last_failure_at: dt.datetime | None
    last_error_code: str | None
    error_streak: int | None
    breaker: str | None
    rests_until: dt.datetime | None
    workers: tuple[WorkerState, ...] | None
    paused: bool | None
    pause: Pause | None
    watermark: Watermark
    exceeded: tuple[Exceeded, ...]
    redrives: tuple[RedriveProgress, ...] | None
    why_slow: SlowFacts | None
    unknown: Mapping[str, str]
    external: bool = False
    advice: tuple[str, ...] = ()


class Snapshot(msgspec.Struct, frozen=True):
    """All queues at one moment.

    Attributes:
        taken_at: when.
        queues: most urgent first, then other programs'.
        unknown: why something about all of them is not known, such as whether there are other programs' queues.
    """

    taken_at: dt.datetime
    queues: tuple[QueueHealth, ...]
    unknown: Mapping[str, str]
