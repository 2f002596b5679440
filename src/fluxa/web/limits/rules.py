"""How much each bucket holds, and what a client's window means for its next request: pure. Not: where it is counted."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.responses import Headers
from fluxa.web.routes import Bucket


class OnOutage(enum.StrEnum):
    """What a bucket does while the server that counts for all processes does not answer."""

    OPEN = "open"
    """Each process counts for itself."""
    CLOSED = "closed"
    """Nothing passes: 503."""


@dataclass(frozen=True, slots=True)
class BucketRule:
    """How much a bucket holds for each client.

    Attributes:
        limit: requests in a window; 0: as many as come.
        window_s: seconds of the window.
        on_outage: what happens while nobody can count for all.
    """

    limit: int
    window_s: int = 60
    on_outage: OnOutage = OnOutage.OPEN


DEFAULTS: Final[Mapping[Bucket, BucketRule]] = MappingProxyType(
    {
        Bucket.NONE: BucketRule(0),
        Bucket.PUBLIC: BucketRule(100),
        Bucket.EMAIL: BucketRule(20, on_outage=OnOutage.CLOSED),  # mail that is sent cannot be taken back
        Bucket.QUEUE_WORKER: BucketRule(60),
        Bucket.LOGIN: BucketRule(10, on_outage=OnOutage.CLOSED),  # else an outage is the time to guess passwords
        Bucket.EVENTS: BucketRule(0),  # the collector's own bounds hold; counting would cost each event
        Bucket.QUERY: BucketRule(1200),
        Bucket.OPERATION: BucketRule(600),
        Bucket.WEBHOOK: BucketRule(300),
        Bucket.FAILED_CREDENTIALS: BucketRule(60),
    }
)
"""What holds where the settings say nothing else."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a client has used: a sliding window made of two that follow each other.

    What was used in the window before counts less and less as the present one goes on, and nothing at its end.

    Attributes:
        previous: requests in the window before.
        previous_left_s: seconds until they count nothing.
        current: requests in the present one.
        current_left_s: seconds until those count nothing: up to two windows.
    """

    previous: int
    previous_left_s: float
    current: int
    current_left_s: float


def used(rule: BucketRule, window: Window) -> int:
    """How much of the limit is used now."""
    return math.floor(window.previous * window.previous_left_s / rule.window_s) + window.current


def wait_s(rule: BucketRule, window: Window) -> float:
    """Seconds until one more request passes, if none comes before; 0 if it would pass now."""
    if used(rule, window) < rule.limit:
        return 0.0
    room = rule.limit - 1 - window.current
    if room >= 0:  # the window before is what is in the way: wait until little enough of it counts
        return max(0.0, window.previous_left_s - (room + 1) * rule.window_s / window.previous)
    # The present window is full: it has to become the one before, and then count for less than the limit.
    turn_s = max(0.0, window.current_left_s - rule.window_s)
    return turn_s + rule.window_s * (1 - rule.limit / window.current)


def reset_s(rule: BucketRule, window: Window) -> int:
    """What `t` says: whole seconds until one more passes, or, while some is left, until the present window ends."""
    if used(rule, window) >= rule.limit:
        return max(1, math.ceil(wait_s(rule, window)))
    return max(1, math.ceil(window.current_left_s - rule.window_s))


def headers(bucket: str, rule: BucketRule, window: Window) -> Headers:
    """The fields of draft-ietf-httpapi-ratelimit-headers-11."""
    left = max(0, rule.limit - used(rule, window))
    return (
        (b"ratelimit-policy", f'"{bucket}";q={rule.limit};w={rule.window_s}'.encode()),
        (b"ratelimit", f'"{bucket}";r={left};t={reset_s(rule, window)}'.encode()),
    )


class RateLimitedError(FluxaError):
    """A client has used what its bucket holds.

    Attributes:
        headers: what the answer says of the bucket.
    """

    def __init__(self, bucket: str, rule: BucketRule, window: Window) -> None:
        self.headers = headers(bucket, rule, window)
        super().__init__(
            ErrorCode.RATE_LIMITED,
            f"The bucket {bucket} holds {rule.limit} requests in {rule.window_s} seconds for each client.",
            retry_after_s=float(reset_s(rule, window)),
        )
