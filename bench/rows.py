"""The events that every contestant takes: as JSON lines for HTTP and queues, as rows for the table."""

import datetime as dt
import hashlib
import itertools
from dataclasses import dataclass

import msgspec

from demo import flights
from fluxa.events.store import EVENT_COLUMNS

INSERT = (
    f"insert into fluxa.events ({', '.join(EVENT_COLUMNS)}) "
    f"values ({', '.join(f'${number}' for number in range(1, len(EVENT_COLUMNS) + 1))})"
)
"""One row by parameters, for handlers that insert one at a time."""

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """So many events.

    Attributes:
        lines: each event's JSON.
        rows: the same events as they end in the table.
    """

    lines: list[bytes]
    rows: list[Row]


def row(line: bytes, *, ord_: int, now: dt.datetime) -> Row:
    """The row of one event, prepared as a consumer of a queue has to prepare it: parsed, and its data hashed."""
    event = _decode(line)
    data = bytes(event.data)
    return (
        now,
        ord_,
        "default",
        event.source,
        event.id,
        event.type,
        event.subject,
        event.time,
        None,
        None,
        None,
        _CORRELATION,
        hashlib.sha256(data).digest(),
        data,
        None,
        len(data),
        0,
        now,
        now,
    )


class _Sent(msgspec.Struct):
    id: str
    source: str
    type: str
    subject: str
    time: dt.datetime
    data: msgspec.Raw


_decode = msgspec.json.Decoder(_Sent).decode
_CORRELATION = "0af7651916cd43dd8448eb211c80319c"


def load(count: int, now: dt.datetime) -> Load:
    """The first `count` departures; beyond the data set's end, the same again under other ids."""
    encode = msgspec.json.Encoder().encode
    lines: list[bytes] = []
    for turn in itertools.count():
        for day, flight in flights.flights(count - len(lines)):
            event = flights.event(day, flight)
            lines.append(encode(msgspec.structs.replace(event, id=f"{event.id}-{turn}") if turn else event))
        if len(lines) == count:
            break
    return Load(lines, [row(line, ord_=ord_, now=now) for ord_, line in enumerate(lines)])
