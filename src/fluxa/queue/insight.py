"""The port for looking into queues without touching them. Not: measuring them, which every engine does by itself."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fluxa.queue.backend import QueueMetrics


@dataclass(frozen=True, slots=True)
class DeadByCode:
    """Dead letters counted by the code that parked them.

    Attributes:
        counts: how many, by code.
        at_least: the codes of which there may be more than that.
        all_codes: whether these are all codes there are.
    """

    counts: Mapping[str, int]
    at_least: frozenset[str] = frozenset()
    all_codes: bool = True


@dataclass(frozen=True, slots=True)
class Peeked:
    """A message as it lies in its queue.

    Attributes:
        message_id: the engine's id of it.
        received_count: how often it was claimed.
        enqueued_at: when the engine took it.
        due_at: when it can be claimed, or claimed again.
        is_due: whether it could be claimed now.
        raw: its text.
    """

    message_id: str
    received_count: int
    enqueued_at: dt.datetime
    due_at: dt.datetime
    is_due: bool
    raw: str


class Insight(Protocol):
    """Looks at what lies in Postgres: dead letters of every queue, messages of those that live there.

    Every verb may raise `FluxaError`.
    """

    async def names(self) -> list[str]:
        """All queues there are in the database, those of dead letters included."""
        ...

    async def sent(self) -> Mapping[str, int]:
        """How many messages were ever put into each queue here, repeats included; only differences mean something."""
        ...

    async def dead_by_code(self, queue: str) -> DeadByCode:
        """Dead letters of a queue by code; reads a bounded number of them."""
        ...

    async def measure_plain(self, queue: str) -> QueueMetrics:
        """What a queue without dead letters holds, one of another program; reads a bounded number of messages."""
        ...

    async def peek(self, queue: str, *, limit: int, after: str | None = None) -> list[Peeked]:
        """The oldest messages of a queue, claimed ones included; none of them is changed.

        Args:
            queue: whose.
            limit: messages at most.
            after: the last message id of the page before.

        Raises:
            FluxaError: `Refused`, for an engine that hands out messages only by a claim.
        """
        ...
