"""What the options of the dead-letter commands mean."""

import datetime as dt

import pytest
import typer

from fluxa.cli.commands.dlq.desk import chosen, moment, must_choose
from fluxa.kernel.errors import FluxaError
from fluxa.queue.backend import DeadLetterFilter

NOW = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-31T12:00:00Z", NOW),
        ("2026-01-31T13:00:00+01:00", NOW),
        ("2026-01-31", NOW.replace(hour=0)),
        ("2h", NOW - dt.timedelta(hours=2)),
        ("1.5 h ago", NOW - dt.timedelta(minutes=90)),
        ("3d", NOW - dt.timedelta(days=3)),
    ],
)
def test_times_are_written_as_people_do(text: str, meant: dt.datetime) -> None:
    assert moment(text, NOW) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "2 parsecs", "-1h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text, NOW)


def test_nothing_is_meant_by_accident() -> None:
    with pytest.raises(FluxaError, match="Nothing says"):
        must_choose(chosen(), everything=False)
    assert must_choose(chosen(), everything=True) == DeadLetterFilter()
    which = chosen(["A", "B"], ["1"], ["r"], ["k"], "2026-01-01", "2026-02-01")
    assert must_choose(which, everything=False).codes == ("A", "B")
    assert which.failed_from == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
