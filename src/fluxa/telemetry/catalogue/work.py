"""The signals that a worker gives of its handlers and its limits. Not: those of everybody (signals)."""

from dataclasses import dataclass

import msgspec


class RecordsSettled(msgspec.Struct, frozen=True, gc=False):
    """The outcomes of one delivery were carried out.

    Attributes:
        queue: where it came from.
        done: records that left the queue.
        retried: records that will be tried again.
        parked: records that went to the dead letters.
        snoozed: records that were given back without an attempt.
    """

    queue: str
    done: int = 0
    retried: int = 0
    parked: int = 0
    snoozed: int = 0


@dataclass(frozen=True, slots=True)
class HandlersReturned:
    """Calls of a queue's handler came to an end, however; gathered over a moment.

    Attributes:
        queue: whose handler.
        durations_s: how long each call took, in seconds.
    """

    queue: str
    durations_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The breaker of a queue changed in this process.

    Attributes:
        queue: which one.
        state: `closed`, `open` or `half_open`.
        rest_s: seconds until it is probed, when open.
        error_code: the last failure's code.
    """

    queue: str
    state: str
    rest_s: float
    error_code: str


@dataclass(frozen=True, slots=True)
class MemoryLow:
    """This process holds more memory than it may: it claims nothing until it holds less."""

    used_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryRecovered:
    """This process holds little enough memory again to claim."""

    used_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """Something kept the event loop for itself: leases were not renewed, nothing could be cancelled meanwhile."""

    blocked_s: float
