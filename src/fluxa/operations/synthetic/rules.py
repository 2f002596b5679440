"""What an answer means, and when a check that failed is believed. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import msgspec

from fluxa.operations.alarms.rule import Reading
from fluxa.operations.synthetic.check import CheckName, Outcome, Result

OK: Final = 200
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding may raise for what strangers send."""
_UNAVAILABLE: Final = 503
_LISTED: Final = 5


class _Alive(msgspec.Struct):
    """What `/health` must say."""

    status: str


class _Ready(msgspec.Struct):
    """What `/api/ready` says of what keeps it from working."""

    failed: list[str]


class _Problem(msgspec.Struct):
    """A refusal, in words."""

    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """When a result is believed.

    Attributes:
        fail_after: failures in a row until a check counts as failed.
        ok_after: successes in a row until one that failed counts as well again.
    """

    fail_after: int = 2
    ok_after: int = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """How a check stands at a target.

    Attributes:
        judged: what was last believed; UNKNOWN: nothing yet.
        is_known: whether the last result could be found out.
        failed_in_row: failures since the last success.
        ok_in_row: successes since the last failure.
        since: since when `result` is what it is.
    """

    judged: Result
    is_known: bool
    failed_in_row: int
    ok_in_row: int
    since: dt.datetime

    @property
    def result(self) -> Result:
        """How the check counts now: what was believed, or UNKNOWN while it cannot be found out."""
        return self.judged if self.is_known else Result.UNKNOWN


@dataclass(frozen=True, slots=True)
class Judged:
    """A check with how it stands.

    Attributes:
        outcome: what it last found.
        standing: how it counts.
        age_s: seconds since it was last done.
    """

    outcome: Outcome
    standing: Standing
    age_s: float = 0.0


def advance(standing: Standing | None, result: Result, now: dt.datetime, patience: Patience) -> Standing:
    """How a check stands after a result.

    What could not be found out counts neither for it nor against it. A check that was never judged is well at its
    first success, and has failed only after as many failures as any other.
    """
    before = standing or Standing(Result.UNKNOWN, is_known=True, failed_in_row=0, ok_in_row=0, since=now)
    judged, failed, ok = before.judged, before.failed_in_row, before.ok_in_row
    match result:
        case Result.OK:
            failed, ok = 0, ok + 1
            if judged is not Result.FAILED or ok >= patience.ok_after:
                judged = Result.OK
        case Result.FAILED:
            failed, ok = failed + 1, 0
            if failed >= patience.fail_after:
                judged = Result.FAILED
        case Result.UNKNOWN:
            pass
        case _:
            assert_never(result)
    after = Standing(judged, result is not Result.UNKNOWN, failed, ok, before.since)
    if after.result is before.result:
        return after
    return Standing(judged, after.is_known, failed, ok, now)


def judged(
    outcomes: Sequence[Outcome],
    standings: Mapping[tuple[str, str], Standing],
    now: dt.datetime,
    patience: Patience,
) -> list[Judged]:
    """How all checks stand after a round; what was not looked at this time is not there any more."""
    return [Judged(one, advance(standings.get((one.check, one.target)), one.result, now, patience)) for one in outcomes]


def wrong_with(check: CheckName, status: int, body: bytes) -> str:
    """Why an answer to one of the JSON pages is not well; empty if it is.

    Args:
        check: which page was asked.
        status: of the answer.
        body: of the answer.
    """
    if check is CheckName.API_READY and status == _UNAVAILABLE:
        try:
            return f"not ready: {', '.join(msgspec.json.decode(body, type=_Ready).failed)}"
        except UNREADABLE:
            return f"status {status}"
    if status != OK:
        return f"status {status}"
    if check is not CheckName.API_READY:
        try:
            alive = msgspec.json.decode(body, type=_Alive).status == "alive"
        except UNREADABLE:
            alive = False
        return "" if alive else "it does not say that it is alive"
    return ""


def refusal(status: int, body: bytes) -> str:
    """What an answer that is none says, in a few words."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except UNREADABLE:
        problem = _Problem()
    said = f" ({problem.code}: {problem.detail})" if problem.code else ""
    return f"status {status}{said}"


def readings(found: Sequence[Judged], *, fresh_s: float) -> list[Reading]:
    """What alarms look at: of each check, at how many targets it has failed.

    Args:
        found: how all checks stand.
        fresh_s: after so many seconds nothing is known of a check that was not done again.
    """
    result = []
    for check in dict.fromkeys(one.outcome.check for one in found):
        of = [one for one in found if one.outcome.check is check]
        failed = [one for one in of if _result(one, fresh_s) is Result.FAILED]
        unknown = [one for one in of if _result(one, fresh_s) is Result.UNKNOWN]
        if failed:
            said = "; ".join(
                f"{one.outcome.target}: {one.outcome.detail or 'not yet well'}" for one in failed[:_LISTED]
            )
            result.append(Reading(check, float(len(failed)), said))
        elif unknown:
            result.append(Reading(check, None, _unknown(unknown[0], fresh_s)))
        else:
            result.append(Reading(check, 0.0))
    return result


def _result(one: Judged, fresh_s: float) -> Result:
    return one.standing.result if one.age_s <= fresh_s else Result.UNKNOWN


def _unknown(one: Judged, fresh_s: float) -> str:
    if one.age_s > fresh_s:
        return f"It was last done {one.age_s:.0f} s ago."
    return f"{one.outcome.target}: {one.outcome.detail or 'done too rarely to judge'}"
