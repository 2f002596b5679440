"""When a cron expression is due in a time zone, summer time included. Pure; not: what is done about missed times."""

import datetime as dt
import zoneinfo
from collections.abc import Iterator

from cronsim import CronSim, CronSimError

from fluxa.kernel.errors import ErrorCode, FluxaError

_FIELDS = 5
_LENGTH_MAX = 200
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PROBE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_SECOND = dt.timedelta(seconds=1)


class Timetable:
    """The due times of an expression of five fields, as Debian's cron reads them.

    A fixed hour that summer time leaves out is due right after the gap; one that comes twice is due once. What is due
    every so many minutes or hours follows the clock on the wall through the hour that comes twice.

    Raises:
        FluxaError: `InvalidRequest` for an expression or a time zone that means nothing, or that is never due.
    """

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        self._zone = _zone(timezone)
        self._expression = _ALIASES.get(expression.strip().lower(), expression.strip())
        if len(expression) > _LENGTH_MAX or len(self._expression.split()) != _FIELDS:
            raise _wrong(expression, "it has five fields: minute, hour, day of month, month, day of week")
        try:
            # Once for its form and once for the calendar: 31 February has a form.
            found = next(CronSim(self._expression, _PROBE), None)
        except CronSimError as error:
            raise _wrong(expression, str(error).lower()) from None
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
            raise _wrong(expression, "its parts do not fit together") from None
        if found is None:
            raise _wrong(expression, "it is never due")

    def after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """The due times after a moment, in UTC, each later than the one before."""
        last = moment
        # In the hour that comes twice, wall time goes back; what was due in it once must not be due again.
        for found in CronSim(self._expression, moment.astimezone(self._zone)):
            due = found.astimezone(dt.UTC)
            if due > last:
                last = due
                yield due

    def first_after(self, moment: dt.datetime) -> dt.datetime:
        """The first due time after a moment."""
        return next(self.after(moment))

    def between(self, since: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
        """The due times from a moment to another, both included."""
        for due in self.after(since - _SECOND):
            if due > until:
                return
            if due >= since:
                yield due


def _zone(name: str) -> dt.tzinfo:
    if name.upper() == "UTC":
        return dt.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            f"{name[:100]!r} is no time zone that this machine knows; it is named as in Europe/Vienna.",
        ) from None


def _wrong(expression: str, why: str) -> FluxaError:
    return FluxaError(ErrorCode.INVALID_REQUEST, f"{expression[:_LENGTH_MAX]!r} is no cron expression: {why}.")
