"""What the routes of synthetic checks answer."""

import datetime as dt

import msgspec

from fluxa.operations.synthetic.rules import Judged
from fluxa.operations.synthetic.store import Past


class CheckView(msgspec.Struct, frozen=True, kw_only=True):
    """How a check stands at a target.

    Attributes:
        check: api_health, api_ready, health, metrics or canary.
        target: host and port of a process, or `pipeline`.
        state: ok, failed or UNKNOWN, as it counts after so many results in a row.
        since: since when.
        result: what it last found.
        failed_in_row: failures since the last success.
        age_s: seconds since it was last done.
        duration_s: how long it took; null if it was not done.
        legs: of a canary that arrived: seconds to be accepted, stored, read.
        detail: why it is not well.
    """

    check: str
    target: str
    state: str
    since: dt.datetime
    result: str
    failed_in_row: int
    age_s: float
    duration_s: float | None
    legs: dict[str, float]
    detail: str

    @classmethod
    def of(cls, one: Judged) -> "CheckView":
        """As it is shown."""
        outcome, standing = one.outcome, one.standing
        return cls(
            check=outcome.check,
            target=outcome.target,
            state=standing.result,
            since=standing.since,
            result=outcome.result,
            failed_in_row=standing.failed_in_row,
            age_s=one.age_s,
            duration_s=outcome.duration_s,
            legs=dict(outcome.legs),
            detail=outcome.detail,
        )


class ChecksView(msgspec.Struct, frozen=True):
    """All checks.

    Attributes:
        every_s: seconds between two rounds; 0: they are not done by themselves.
        checks: failed ones first.
    """

    every_s: float
    checks: list[CheckView]


class PastView(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found before.

    Attributes:
        at: when.
        station: the process that did it.
        check: which.
        target: host and port of a process, or `pipeline`.
        result: ok, failed or UNKNOWN.
        duration_s: how long it took; null if it was not done.
        legs: of a canary that arrived: seconds to be accepted, stored, read.
        detail: why it was not well.
    """

    at: dt.datetime
    station: str
    check: str
    target: str
    result: str
    duration_s: float | None
    legs: dict[str, float]
    detail: str

    @classmethod
    def of(cls, one: Past) -> "PastView":
        """As it is shown."""
        outcome = one.outcome
        return cls(
            at=one.at,
            station=one.station,
            check=outcome.check,
            target=outcome.target,
            result=outcome.result,
            duration_s=outcome.duration_s,
            legs=dict(outcome.legs),
            detail=outcome.detail,
        )
