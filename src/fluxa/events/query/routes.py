"""The HTTP rows of the query slice: events by filter and by id, the stream, and traces."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

from fluxa.auth.roles import READERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.events.query.find import find_event, list_events
from fluxa.events.query.follow import MEDIA_TYPE, Follower, StreamLimits
from fluxa.events.query.rules import CURSOR_PATTERN, position
from fluxa.events.query.schemas import EventItem, EventPage, Position, Trace
from fluxa.events.query.store import EventReads, Filters
from fluxa.events.query.tail import Tailer
from fluxa.events.query.trace import trace
from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.providers.object_store import ObjectStore
from fluxa.web.queries import Query, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Media, Operation, Receive, Route, Scope, Send, Terms

LIMIT_MAX = 1000
LIMIT_DEFAULT = 100

_MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
_CURSOR: dict[str, Any] = {"type": "string", "pattern": CURSOR_PATTERN}
_LIMIT: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
_FILTERS = (
    parameter("type", "Only events of this type."),
    parameter("source", "Only events from this source."),
    parameter("subject", "Only events about this subject."),
)
_LIST_PARAMETERS = (
    *_FILTERS,
    parameter("correlation_id", "Only events of this story."),
    parameter("from", "Events whose own time is this or later.", _MOMENT),
    parameter("to", "Events whose own time is earlier than this.", _MOMENT),
    parameter("received_from", "Events that came in at this time or later.", _MOMENT),
    parameter("received_to", "Events that came in before this time.", _MOMENT),
    parameter("limit", "Events a page.", _LIMIT),
    parameter("cursor", "`next` of the page before.", _CURSOR),
)
_GET_PARAMETERS = (parameter("source", "Where it comes from, if several sources use the id."),)
_STREAM_PARAMETERS = (
    *_FILTERS,
    parameter(
        "after",
        "Begin after this position (an event's `id`); else with what comes from now on. The header `Last-Event-ID`, "
        "which an EventSource sends by itself when it comes back, means the same and goes first.",
        _CURSOR,
    ),
)
_TRACE_PARAMETERS = (
    parameter("event_id", "Only this event of the story."),
    parameter("limit", "Events at most.", _LIMIT),
)
_STREAM = {
    "type": "object",
    "description": "One server-sent event. The event `end` says why the stream ends; any other is a stored event.",
    "required": ["data"],
    "properties": {
        "data": {"type": "string", "description": "The JSON of an event as in the list."},
        "id": {"type": "string", "description": "Its position, for `Last-Event-ID` or `after`."},
        "event": {"type": "string", "description": "`end`, or none."},
    },
}


def _names(parameters: tuple[dict[str, Any], ...]) -> frozenset[str]:
    return frozenset(str(one["name"]) for one in parameters if one["in"] == "query")


_LIST_NAMES, _GET_NAMES = _names(_LIST_PARAMETERS), _names(_GET_PARAMETERS)
_STREAM_NAMES, _TRACE_NAMES = _names(_STREAM_PARAMETERS), _names(_TRACE_PARAMETERS)


@dataclass(frozen=True, slots=True)
class QueryDoor:
    """What the rows need.

    Attributes:
        reads: where events are.
        objects: where large data is.
        tailer: who reads new events.
        clock: measures streams.
        stream: how streams behave.
    """

    reads: EventReads
    objects: ObjectStore
    tailer: Tailer
    clock: Clock
    stream: StreamLimits = field(default_factory=StreamLimits)

    async def list(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """A page of events."""
        query = Query(scope, _LIST_NAMES)
        filters = Filters(
            type=query.text("type"),
            source=query.text("source"),
            subject=query.text("subject"),
            correlation_id=query.text("correlation_id"),
            time_from=query.moment("from"),
            time_to=query.moment("to"),
            received_from=query.moment("received_from"),
            received_to=query.moment("received_to"),
        )
        limit = query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX)
        page = await list_events(self.reads, _tenant(call), filters, _position(query.text("cursor"), "cursor"), limit)
        await send_response(send, json_response(page))

    async def get(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """One event."""
        source = Query(scope, _GET_NAMES).text("source")
        found = await find_event(self.reads, self.objects, _tenant(call), call.path_params["id"], source)
        await send_response(send, json_response(found))

    async def trace(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """The story of a correlation id."""
        query = Query(scope, _TRACE_NAMES)
        limit = query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX)
        correlation_id = call.path_params["correlation_id"]
        found = await trace(self.reads, _tenant(call), correlation_id, query.text("event_id"), limit)
        await send_response(send, json_response(found))

    async def follow(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """New events, until either side ends it."""
        query = Query(scope, _STREAM_NAMES)
        filters = Filters(type=query.text("type"), source=query.text("source"), subject=query.text("subject"))
        after = _position(_last_event_id(scope), "Last-Event-ID") or _position(query.text("after"), "after")
        follower = Follower(
            self.reads,
            self.tailer,
            tenant=_tenant(call),
            filters=filters,
            after=after,
            clock=self.clock,
            limits=self.stream,
        )
        if scope["method"] == "HEAD":
            await send(_stream_start())
            await send({"type": "http.response.body"})
            return
        pump = asyncio.create_task(_pump(follower, send, self.stream.stall_s), name="stream")
        gone = asyncio.create_task(_disconnected(receive), name="stream's client")
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(gone)
            await cancel_and_wait(pump)
        if pump.done() and not pump.cancelled():
            pump.result()


_LIST = Operation("Events, newest first", _LIST_PARAMETERS, responses={200: ("A page.", EventPage)})
_FOLLOW = Operation(
    "New events as they are stored",
    _STREAM_PARAMETERS,
    responses={
        200: ("The stream.", Media(MEDIA_TYPE, _STREAM)),
        409: ("The position is ahead of all events.", None),
        429: ("Too many streams.", None),
    },
)
_GET = Operation(
    "One event; percent-encode its id (a slash as %2F)",
    _GET_PARAMETERS,
    responses={
        200: ("The event.", EventItem),
        404: ("Not stored, or not yet.", None),
        409: ("Several sources use this id.", None),
    },
)
_READ = Terms(Bucket.QUERY, READERS, scope=KeyScope.EVENTS_READ)
# Ends by itself within StreamLimits.longest_s, and within seconds when its key is revoked or its session ends.
_FOLLOWED = replace(_READ, timeout_s=4000.0, asked_again_s=5.0)
_TRACE = Operation(
    "The story of a correlation id: every stage of every event",
    _TRACE_PARAMETERS,
    responses={200: ("The story.", Trace), 404: ("Nothing is known under it, or not yet.", None)},
)


def routes(door: QueryDoor) -> tuple[Route, ...]:
    """The rows of this slice."""
    get = ("GET",)
    return (
        Route("list_events", "/v1/events", get, Auth.BEARER, door.list, _LIST, _READ),
        Route("stream_events", "/v1/events/stream", get, Auth.BEARER, door.follow, _FOLLOW, _FOLLOWED),
        Route("get_event", "/v1/events/{id}", get, Auth.BEARER, door.get, _GET, _READ),
        Route("get_trace", "/v1/traces/{correlation_id}", get, Auth.BEARER, door.trace, _TRACE, _READ),
    )


def _tenant(call: Call) -> Tenant:
    """Whose events may be seen: the caller's, always."""
    return call.caller.tenant


def _position(text: str | None, name: str) -> Position | None:
    return None if text is None else position(text, name)


def _last_event_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"last-event-id" and value:
            return str(value.decode("latin-1"))
    return None


def _stream_start() -> dict[str, object]:
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"x-accel-buffering", b"no")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _pump(follower: Follower, send: Send, stall_s: float) -> None:
    """Send what the follower yields; a client that does not read loses its stream, not the server its memory."""
    begun = False
    async with contextlib.aclosing(follower.chunks()) as chunks:
        async for chunk in chunks:
            if not begun:
                await send(_stream_start())
                begun = True
            try:
                async with asyncio.timeout(stall_s):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                return
    await send({"type": "http.response.body"})


async def _disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
