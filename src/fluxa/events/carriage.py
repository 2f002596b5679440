"""How an event travels in a queue record: its JSON as received, and facts about it in the headers."""

import base64
import datetime as dt
import re

import msgspec

from fluxa.events.event import Event, Extension, is_json, parse
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant, is_tenant, new_correlation_id
from fluxa.queue.record import Record
from fluxa.telemetry.trace import TRACEPARENT

QUEUE = "events"
"""The queue between the door and the processor."""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")

TENANT = "tenant"
SHA256 = "sha256"
DATA_KEY = "data_key"
"""Header: where the data is in the object store; then the JSON in the body has no data member."""


def to_record(
    event: Event, *, text: bytes, received_at: dt.datetime, data_key: str | None = None, place: str | None = None
) -> Record:
    """The record that carries an accepted event.

    Args:
        event: as parsed from `text`.
        text: the event's JSON; without its data if that is in the object store.
        received_at: when it came through the door.
        data_key: where its data is, if not in `text`.
        place: the span whose trace its story goes on with, as `traceparent`.
    """
    headers = {TENANT: str(event.tenant), SHA256: event.sha256.hex()}
    if data_key is not None:
        headers[DATA_KEY] = data_key
    if place is not None:
        headers[TRACEPARENT] = place
    return Record(
        id=event.id,
        body=text,
        created_at=received_at,
        correlation_id=event.correlation_id,
        content_type="application/cloudevents+json",
        headers=headers,
    )


def to_text(event: Event, *, with_data: bool) -> bytes:
    """An event in the JSON format, for one that came in another form or whose data is in the object store.

    JSON data stands inline where reading it again gives the same bytes, other data as `data_base64`.
    A producer's own digest has been checked by now and is left out: the record's header has it.
    """
    attributes: dict[str, Extension | None] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": None if event.time is None else event.time.isoformat(),
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
        **event.extensions,
    }
    members: dict[str, object] = {name: value for name, value in attributes.items() if value is not None}
    if with_data and event.data is not None:
        if is_json(event.datacontenttype) and event.data.strip(b" \t\r\n") == event.data:
            members["data"] = msgspec.Raw(event.data)
        else:
            members["data_base64"] = base64.b64encode(event.data).decode()
    return json.encode(members)


def from_record(record: Record, *, default_tenant: Tenant, now: dt.datetime) -> Event:
    """Read the event again and prove that its inline data is what came through the door (PIPE-3).

    An event whose data is in the object store comes back without it, and with the digest that the one
    who fetches it must find. A message of another program has no digest; its data is taken as it is.

    Raises:
        FluxaError: `HashMismatch`, `MalformedJson`, `MalformedMessage` or `InvalidEvent`.
    """
    tenant = record.headers.get(TENANT, default_tenant)
    if not is_tenant(tenant):
        raise FluxaError(ErrorCode.INVALID_EVENT, "the record's tenant is not a tenant's name")
    correlation_id = CorrelationId(record.correlation_id) if record.correlation_id else new_correlation_id()
    claimed = record.headers.get(SHA256)
    event = parse(record.body, tenant=Tenant(tenant), correlation_id=correlation_id, now=now, seen=claimed is not None)
    if DATA_KEY in record.headers:
        return _without_data(event, claimed)
    if claimed is not None and claimed != event.sha256.hex():
        raise FluxaError(ErrorCode.HASH_MISMATCH, "the data in the queue is not the data that was received")
    return event


def _without_data(event: Event, claimed: str | None) -> Event:
    if event.data is not None:
        raise FluxaError(ErrorCode.MALFORMED_MESSAGE, "the record has data both in itself and in the object store")
    if claimed is None or _DIGEST.match(claimed) is None:
        raise FluxaError(ErrorCode.MALFORMED_MESSAGE, "the record names an object but not the digest of its content")
    return msgspec.structs.replace(event, sha256=bytes.fromhex(claimed))
