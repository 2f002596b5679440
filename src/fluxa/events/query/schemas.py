"""What the query routes answer. Not: how it is found or written out."""

import datetime as dt
import enum
from typing import Any, NamedTuple

import msgspec

LIST_DATA_MAX_BYTES = 8 * 1024
"""Data up to this length stands in lists and streams; longer data is referred to."""
PAGE_MAX_BYTES = 2 * 1024 * 1024
"""A page or a batch ends after the event that passes this length of data and extensions."""


class Position(NamedTuple):
    """Where an event stands among all events of its tenant.

    Attributes:
        tx: the transaction that stored it.
        ord: its place in that transaction; -1 is before all of them.
    """

    tx: int
    ord: int


class EventItem(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event, with what is known of its way.

    Attributes:
        event: the CloudEvent in JSON form, its data byte for byte as received. Where data is too long
            for a list, `dataref` is where to get it.
        received_at: when it came through the door.
        stored_at: when it was stored.
        sha256: digest of the data, in hexadecimal.
        correlation_id: the story it belongs to.
        attempt: the attempt that stored it; 1 is the first.
        data_bytes: length of the data.
    """

    event: dict[str, Any]
    received_at: dt.datetime
    stored_at: dt.datetime
    sha256: str
    correlation_id: str
    attempt: int
    data_bytes: int


class EventPage(msgspec.Struct, frozen=True):
    """A page of events, newest first.

    Attributes:
        items: the events; fewer than `limit` where they are heavy.
        next: the `cursor` of the next page; null on the last one.
    """

    items: list[EventItem]
    next: str | None


class State(enum.StrEnum):
    """Where an event is on its way."""

    STORED = "stored"
    """It is in the table; the way ends here."""
    RETRYING = "retrying"
    """An attempt failed; another one follows by itself."""
    PARKED = "parked"
    """It is in the dead letters and waits for a person."""


class StageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of an event, or one failed attempt at it.

    Attributes:
        stage: validate, enqueue, process or persist.
        status: success or failure.
        at: when it ended.
        latency_ms: how long it took, waiting included; null if that is not known.
        attempt: which attempt it was; null where a stage has only one.
        error_code: why it failed; null on success.
        detail: the error's text; null on success.
    """

    stage: str
    status: str
    at: dt.datetime
    latency_ms: float | None = None
    attempt: int | None = None
    error_code: str | None = None
    detail: str | None = None


class EventStory(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one event.

    Attributes:
        id: the event's id.
        source: the event's source; null if it could not be read.
        type: the event's type; null unless it is stored.
        state: where it is now.
        attempts: attempts made so far.
        acknowledged: how often it was sent and acknowledged; null unless it is stored.
        stages: what happened, in order of time.
    """

    id: str
    source: str | None
    type: str | None
    state: State
    attempts: int
    acknowledged: int | None
    stages: list[StageRecord]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The story of a correlation id.

    Attributes:
        correlation_id: what was asked for.
        events: the events of the story, in the order in which they came in.
        truncated: whether there are more events than are shown; ask for one with `event_id`.
        note: what this answer cannot know.
    """

    correlation_id: str
    events: list[EventStory]
    truncated: bool
    note: str
