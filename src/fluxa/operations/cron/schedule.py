"""A schedule as somebody says it: when, and what is sent where. Not: what became of it (schedules)."""

import hashlib
import re
from dataclasses import dataclass

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron.rules import Missed
from fluxa.operations.cron.timetable import Timetable

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_BODY_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is sent to a queue, and when.

    Attributes:
        name: 1 to 63 of a-z, 0-9, _ and -, beginning with a letter.
        expression: five fields as in crontab, or @hourly, @daily, @weekly, @monthly, @yearly.
        queue: where the record goes.
        body: what it holds.
        timezone: where the expression's hours are, as in `Europe/Vienna`.
        key: what records of the queue are kept in order or apart by.
        missed: what becomes of due times that passed while nobody was there.
    """

    name: str
    expression: str
    queue: str
    body: bytes = b"{}"
    timezone: str = "UTC"
    key: str | None = None
    missed: Missed = Missed.ONCE

    @property
    def timetable(self) -> Timetable:
        """When it is due. Raises `InvalidRequest` for an expression or a time zone that means nothing."""
        return Timetable(self.expression, self.timezone)

    @property
    def digest(self) -> str:
        """What tells one form of the schedule from another."""
        parts = (self.expression, self.queue, self.body.hex(), self.timezone, self.key, self.missed)
        return hashlib.sha256(json.encode(parts)).hexdigest()

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            FluxaError: `InvalidRequest`.
        """
        if not _NAME.match(self.name):
            raise FluxaError(
                ErrorCode.INVALID_REQUEST,
                f"{self.name[:100]!r} names no schedule: 1 to 63 of a-z, 0-9, _ and -, beginning with a letter.",
            )
        if len(self.body) > _BODY_MAX_BYTES:
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"A schedule's body has at most {_BODY_MAX_BYTES} bytes.")
        _ = self.timetable
