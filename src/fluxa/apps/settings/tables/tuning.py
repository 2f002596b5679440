"""What the settings say about one queue, over what the code says (QUEUE-2)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fluxa.kernel.errors import RetryClass

Count = Annotated[int, Meta(ge=1, le=100_000)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Mark = Annotated[int, Meta(ge=0)]


class QueueTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Each part that is given takes the place of the queue's own; a queue that nobody declared begins with defaults.

    Attributes:
        description: what it carries.
        priority: 1 is served first.
        batch: records given to a batch handler at once, at most.
        concurrency: handler calls that run at once in one process.
        lease_s: seconds until a dead worker's records are given to another.
        timeout_s: seconds a handler may take.
        envelope_records: records packed into one message at most.
        key_limit: messages of one key that are worked on at once, across all machines.
        ordered: whether records of one key keep their order.
        attempts_max: attempts in all before a record is parked.
        retry_base_s: seconds before the second attempt.
        retry_cap_s: seconds between two attempts at most.
        classes: error codes and what is done about them in this queue: transient, permanent or security.
        breaker_failures: failures in a row after which the queue rests.
        rest_s: seconds of the first rest.
        rest_max_s: seconds of a rest at most.
        depth_high: messages waiting beyond which somebody should look.
        oldest_age_high_s: seconds of waiting beyond which somebody should look.
        dead_high: dead letters beyond which somebody should look.
    """

    description: str | None = None
    priority: Annotated[int, Meta(ge=1, le=100)] | None = None
    batch: Count | None = None
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    lease_s: Annotated[float, Meta(ge=1, le=43200)] | None = None
    timeout_s: Seconds | None = None
    envelope_records: Count | None = None
    key_limit: Annotated[int, Meta(ge=1, le=1000)] | None = None
    ordered: bool | None = None
    attempts_max: Annotated[int, Meta(ge=1, le=1000)] | None = None
    retry_base_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    retry_cap_s: Annotated[float, Meta(ge=0, le=86400)] | None = None
    classes: dict[str, RetryClass] = {}
    breaker_failures: Count | None = None
    rest_s: Seconds | None = None
    rest_max_s: Seconds | None = None
    depth_high: Mark | None = None
    oldest_age_high_s: Seconds | None = None
    dead_high: Mark | None = None

    def shown(self) -> dict[str, Any]:
        """The same for people; nothing of it is secret."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return shown
