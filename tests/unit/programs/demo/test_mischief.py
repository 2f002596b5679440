"""The demonstration's mischief is repeatable, and the door refuses each damaged line with the code foretold."""

import datetime as dt
from collections import Counter

import pytest

from demo import flights, incidents, mischief
from demo.mischief import Kind
from fluxa.events.event import parse
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def _refusal(text: bytes) -> str | None:
    try:
        parse(text, tenant=Tenant("default"), correlation_id=CorrelationId("c"), now=NOW)
    except FluxaError as error:
        return error.code
    return None


def test_each_line_is_taken_or_refused_as_foretold() -> None:
    lines = list(mischief.lines(flights.flights(8000), seed=1))
    assert {line.kind for line in lines} == set(Kind)
    wrong = [line for line in lines if _refusal(line.text) != line.refusal]
    assert not wrong


def test_every_departure_is_sent_once_as_it_is_and_some_again() -> None:
    kinds: dict[Kind, Counter[tuple[str, str]]] = {kind: Counter() for kind in Kind}
    for line in mischief.lines(flights.flights(5000), seed=2):
        kinds[line.kind][line.identity] += 1
    assert len(kinds[Kind.FIRST]) == 5000
    assert max(kinds[Kind.FIRST].values()) == 1
    assert 60 < kinds[Kind.AGAIN].total() < 140
    assert kinds[Kind.AGAIN].keys() <= kinds[Kind.FIRST].keys()


def test_the_same_seed_gives_the_same_lines() -> None:
    assert list(mischief.lines(flights.flights(500), 7)) == list(mischief.lines(flights.flights(500), 7))
    assert list(mischief.lines(flights.flights(500), 7)) != list(mischief.lines(flights.flights(500), 8))


def test_a_cancelled_flight_has_the_time_it_should_have_left() -> None:
    events = [flights.event(day, flight) for day, flight in flights.flights(1000)]
    cancelled = [event for event in events if event.type == "flight.cancelled"]
    assert cancelled
    assert all(event.time == event.data.scheduled for event in cancelled)


@pytest.mark.parametrize("days", [1, 3])
def test_a_diary_is_too_large_to_travel_inline(days: int) -> None:
    diaries = list(incidents.diaries(flights.flights(4000), days=days))
    assert len(diaries) == days
    assert all(64 * 1024 < len(line.text) < 1024 * 1024 and _refusal(line.text) is None for line in diaries)
