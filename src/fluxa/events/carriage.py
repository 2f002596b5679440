"""How an event travels in a queue record: its JSON as received, and facts about it in the headers."""

import datetime as dt

from fluxa.events.event import Event, parse
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant, is_tenant, new_correlation_id
from fluxa.queue.record import Record

QUEUE = "events"
"""The queue between the door and the processor."""

TENANT = "tenant"
SHA256 = "sha256"
DATA_KEY = "data_key"
"""Header: where the data is in the object store; then the JSON in the body has no data member."""


def to_record(event: Event, *, text: bytes, received_at: dt.datetime, data_key: str | None = None) -> Record:
    """The record that carries an accepted event.

    Args:
        event: as parsed from `text`.
        text: the event's JSON; without its data if that is in the object store.
        received_at: when it came through the door.
        data_key: where its data is, if not in `text`.
    """
    headers = {TENANT: str(event.tenant), SHA256: event.sha256.hex()}
    if data_key is not None:
        headers[DATA_KEY] = data_key
    return Record(
        id=event.id,
        body=text,
        created_at=received_at,
        correlation_id=event.correlation_id,
        content_type="application/cloudevents+json",
        headers=headers,
    )


def from_record(record: Record, *, default_tenant: Tenant, now: dt.datetime) -> Event:
    """Read the event again and prove that its inline data is what came through the door (PIPE-3).

    The data of an event in the object store is checked by the one who fetches it. A message of another
    program has no digest; its data is taken as it is.

    Raises:
        FluxaError: `HashMismatch`, `MalformedJson` or `InvalidEvent`.
    """
    tenant = record.headers.get(TENANT, default_tenant)
    if not is_tenant(tenant):
        raise FluxaError(ErrorCode.INVALID_EVENT, "the record's tenant is not a tenant's name")
    correlation_id = CorrelationId(record.correlation_id) if record.correlation_id else new_correlation_id()
    event = parse(record.body, tenant=Tenant(tenant), correlation_id=correlation_id, now=now)
    claimed = record.headers.get(SHA256)
    if DATA_KEY not in record.headers and claimed is not None and claimed != event.sha256.hex():
        raise FluxaError(ErrorCode.HASH_MISMATCH, "the data in the queue is not the data that was received")
    return event
