"""Decides by seed what goes wrong on the way: duplicates, wrong digests, malformed lines. Pure.

What is expected of each line is decided here, before anything is sent.
"""

import enum
import hashlib
import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from demo import flights
from demo.flights import Flight, FlightEvent

TWICE = 0.02
"""Share of events that are sent twice."""
FORGED = 0.002
"""Share of events of which a copy with another event's digest is sent first."""
MALFORMED = 0.002
"""Share of events of which a damaged copy is sent first."""

_APART_MAX = 20_000
"""How many lines later a duplicate comes, at most."""

_encode = msgspec.json.Encoder().encode


class Kind(enum.StrEnum):
    """What is special about a line."""

    FIRST = "first"
    """A good event, sent for the first time."""
    AGAIN = "again"
    """The same event again: acknowledged, not stored."""
    FORGED = "forged"
    """Data and digest do not belong together: refused as `HashMismatch`."""
    MALFORMED = "malformed"
    """Not a CloudEvent: refused as `MalformedJson` or `InvalidEvent`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line to send.

    Attributes:
        text: the JSON, or what pretends to be.
        kind: what is special about it.
        identity: source and id of the event; of a damaged one, those of the event it was made from.
        refusal: the code with which it must be refused; None if it must be accepted.
    """

    text: bytes
    kind: Kind
    identity: tuple[str, str]
    refusal: str | None = None


def lines(rows: Iterable[tuple[str, Flight]], seed: int) -> Iterator[Line]:
    """Every departure once, and mischief among them; the same seed gives the same lines."""
    chance = random.Random(seed)  # noqa: S311 - repeatable mischief, no secret
    again: list[tuple[int, int, Line]] = []
    for place, (day, flight) in enumerate(rows):
        event = flights.event(day, flight)
        event = msgspec.structs.replace(event, correlationid=flights.story(day, flight))
        while again and again[0][0] <= place:
            yield heapq.heappop(again)[2]
        draw = chance.random()
        if draw < FORGED:
            yield _forged(event)
        elif draw < FORGED + MALFORMED:
            yield _malformed(event, chance)
        elif draw > 1 - TWICE:
            copy = Line(_encode(event), Kind.AGAIN, (event.source, event.id))
            heapq.heappush(again, (place + 1 + chance.randrange(_APART_MAX), place, copy))
        yield Line(_encode(event), Kind.FIRST, (event.source, event.id))
    while again:
        yield heapq.heappop(again)[2]


def _forged(event: FlightEvent) -> Line:
    digest = hashlib.sha256(b"other data").hexdigest()
    text = _encode(msgspec.structs.replace(event, sha256=digest))
    return Line(text, Kind.FORGED, (event.source, event.id), "HashMismatch")


def _malformed(event: FlightEvent, chance: random.Random) -> Line:
    damage, code = chance.choice(_DAMAGES)
    return Line(damage(_encode(event)), Kind.MALFORMED, (event.source, event.id), code)


_DAMAGES: tuple[tuple[Callable[[bytes], bytes], str], ...] = (
    (lambda text: text[: len(text) // 2], "MalformedJson"),
    (lambda text: text.replace(b"{", b"{,", 1), "MalformedJson"),
    (lambda text: text.replace(b'"specversion":"1.0"', b'"specversion":"0.3"'), "InvalidEvent"),
    (lambda text: text.replace(b'"type":', b'"Type":', 1), "InvalidEvent"),
    (lambda text: text.replace(b'Z","data"', b'","data"', 1), "InvalidEvent"),
    (lambda text: text.replace(b'"source":"', b'"source":"not a uri ', 1), "InvalidEvent"),
)
"""Ways to damage an event's JSON, and the code that each must be refused with."""
