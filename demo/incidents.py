"""What is done to the running system on purpose: a stored object altered, a schema tightened, a processor killed."""

import asyncio
import datetime as dt
import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from demo import flights
from demo.flights import Flight
from demo.mischief import Kind, Line
from demo.stack import Stack

DIARY = "flights.day"
"""Type of the large events: all departures of one day, too long to travel inline."""
GATE = "gate.changed"
"""Type of the event whose schema is made stricter while it waits in the queue."""

GATE_SCHEMA = {
    "type": "object",
    "required": ["gate", "terminal"],
    "properties": {"gate": {"type": "string"}, "terminal": {"type": "integer"}},
}

_DAY = dt.timedelta(days=1)


def diaries(rows: Iterable[tuple[str, Flight]], *, days: int) -> Iterator[Line]:
    """One large event for each of the first days: all its departures."""
    by_day: dict[str, list[Flight]] = {}
    for day, flight in rows:
        if day not in by_day and len(by_day) == days:
            break
        by_day.setdefault(day, []).append(flight)
    for day, departures in by_day.items():
        yield _diary(day, departures)


def _diary(day: str, departures: list[Flight]) -> Line:
    event = flights.FlightEvent(
        specversion="1.0",
        id=f"{day}-departures",
        source="/airports",
        type=DIARY,
        subject=day,
        time=dt.datetime.fromisoformat(f"{day}T00:00:00+00:00") + _DAY,
        data={"day": day, "departures": departures},
        correlationid=f"{day}.departures",
    )
    return Line(msgspec.json.encode(event), Kind.FIRST, (event.source, event.id))


def gate_change() -> Line:
    """An event that is valid when it is sent, and no longer when it is processed: its gate is a number."""
    event = flights.FlightEvent(
        specversion="1.0",
        id="2013-01-01-UA1545-gate",
        source="/airports/EWR",
        type=GATE,
        subject="UA1545",
        time=dt.datetime(2013, 1, 1, 9, 30, tzinfo=dt.UTC),
        data={"gate": 71, "terminal": "A"},
        correlationid="2013-01-01.gate",
    )
    return Line(msgspec.json.encode(event), Kind.FIRST, (event.source, event.id))


async def tighten_schema(stack: Stack, folder: Path) -> None:
    """Register a schema that the waiting event does not fit."""
    file = folder / "gate.schema.json"
    await asyncio.to_thread(file.write_text, json.dumps(GATE_SCHEMA))
    await stack.command("schema", "put", GATE, str(file))


def objects(stack: Stack) -> set[Path]:
    """The files of the object store."""
    return {path for path in (stack.home / "objects").rglob("*") if path.is_file()}


def alter(file: Path) -> None:
    """Change one digit of a stored object, as a disk or a hand might."""
    content = bytearray(file.read_bytes())
    place = len(content) // 2
    while not chr(content[place]).isdigit():
        place += 1
    content[place] = ord("0") + (content[place] - ord("0") + 1) % 10
    os.chmod(file, 0o600)  # noqa: PTH101 - follows nothing: the store writes plain files
    file.write_bytes(bytes(content))


def kill(processes: Mapping[str, int]) -> None:
    """What a power cut does to processes: no warning, no clean-up."""
    for pid in processes.values():
        os.kill(pid, signal.SIGKILL)


def freeze(processes: Mapping[str, int]) -> None:
    """Stop processes in their tracks: they keep what they hold and take nothing new."""
    for pid in processes.values():
        os.kill(pid, signal.SIGSTOP)
