"""Makes events and stored rows for the tests of the pipeline."""

import datetime as dt
import json

from fluxa.events.carriage import to_record
from fluxa.events.event import Event, parse
from fluxa.events.store import StoredEvent
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import CorrelationId, Tenant
from fluxa.queue.record import Record

NOW = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)


def event_text(number: int | str, *, type_: str = "flight.departed", data: object = None) -> bytes:
    """The JSON of an event whose id ends with this number."""
    attributes = {"specversion": "1.0", "id": f"e-{number}", "source": "/flights", "type": type_}
    return json.dumps({**attributes, "data": data if data is not None else {"n": number}}).encode()


def make_event(number: int | str, *, tenant: str = "default", data: object = None) -> Event:
    """A valid event."""
    return parse(
        event_text(number, data=data), tenant=Tenant(tenant), correlation_id=CorrelationId(f"c-{number}"), now=NOW
    )


def make_row(number: int | str, *, tenant: str = "default", received_at: dt.datetime = NOW) -> StoredEvent:
    """A row of that event."""
    event = make_event(number, tenant=tenant)
    return StoredEvent(
        event=event,
        received_at=received_at,
        data_key=None,
        data_bytes=len(event.data or b""),
        attempt=1,
        enqueued_at=received_at,
        claimed_at=received_at,
    )


def make_record(
    number: int | str, *, data: object = None, type_: str = "flight.departed", received_at: dt.datetime | None = None
) -> Record:
    """What the door puts into the queue for that event."""
    text = event_text(number, type_=type_, data=data)
    moment = received_at or SystemClock().now()
    event = parse(text, tenant=Tenant("default"), correlation_id=CorrelationId(f"c-{number}"), now=moment)
    return to_record(event, text=text, received_at=moment)
