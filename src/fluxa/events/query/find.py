"""Finds stored events: one by its id, many by filters. Not: the tail (follow) or the way (trace)."""

import hashlib
import hmac

from fluxa.events.query.rules import cursor, item, listed_item, position_of
from fluxa.events.query.schemas import EventItem, EventPage, Position
from fluxa.events.query.store import EventReads, Filters
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.transaction import Row
from fluxa.providers.object_store import ObjectStore

_SOURCES_SHOWN = 10


async def find_event(
    reads: EventReads, objects: ObjectStore, tenant: Tenant, event_id: str, source: str | None
) -> EventItem:
    """One event, whole.

    Args:
        reads: where events are.
        objects: where large data is.
        tenant: whose event it is.
        event_id: the producer's id.
        source: where it comes from; needed if several sources use the id.

    Raises:
        FluxaError: `NotFound`; `AmbiguousId`; `PayloadMissing` or `HashMismatch` if its data in the
            object store is gone or is not what was received.
    """
    rows = [] if "\x00" in event_id else await reads.find(tenant, event_id, source)
    if not rows:
        raise FluxaError(
            ErrorCode.NOT_FOUND,
            "No event of this id is stored. If it was accepted a moment ago, it appears once it has been processed.",
            retry_after_s=1,
        )
    if len(rows) > 1:
        sources = ", ".join(row["source"] for row in rows[:_SOURCES_SHOWN])
        more = " and others" if len(rows) > _SOURCES_SHOWN else ""
        raise FluxaError(
            ErrorCode.AMBIGUOUS_ID, f"Several sources use this id: {sources}{more}. Name one with ?source=."
        )
    return item(rows[0], await _data(objects, rows[0]))


async def list_events(
    reads: EventReads, tenant: Tenant, filters: Filters, before: Position | None, limit: int
) -> EventPage:
    """A page of events, newest first; it may hold fewer than `limit` and still have a next one.

    Raises:
        FluxaError: `QueryTimeout`, or an outage.
    """
    rows, more = await reads.page(tenant, filters, before, limit)
    return EventPage([listed_item(row) for row in rows], cursor(position_of(rows[-1])) if more else None)


async def _data(objects: ObjectStore, row: Row) -> bytes | None:
    """The data of an event; what comes from the object store is proved to be what was received."""
    if row["data_key"] is None:
        return None if row["data"] is None else bytes(row["data"])
    data = await objects.get(row["data_key"])
    if not hmac.compare_digest(hashlib.sha256(data).digest(), bytes(row["sha256"])):
        raise FluxaError(
            ErrorCode.HASH_MISMATCH,
            f"The object {row['data_key']} is not the data that was received with this event.",
        )
    return data
