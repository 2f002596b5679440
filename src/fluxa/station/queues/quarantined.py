"""Messages in quarantine over HTTP: pages of them. Not: letting them go, which is the command line's."""

from dataclasses import dataclass

from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.registry import Registry
from fluxa.station.queues.given import queue_of
from fluxa.station.queues.schemas import LETTER_ID_PATTERN, QuarantinePage
from fluxa.station.queues.terms import SEE
from fluxa.web.queries import Query, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Call, Operation, Receive, Route, Scope, Send

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
"""Fewer than elsewhere: each has its whole text."""

_LIMIT = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
_PARAMETERS = (
    parameter("limit", "Messages a page.", _LIMIT),
    parameter("after", "`next` of the page before.", {"type": "string", "pattern": LETTER_ID_PATTERN}),
)
_NAMES = frozenset(str(one["name"]) for one in _PARAMETERS)


@dataclass(frozen=True, slots=True)
class QuarantineRows:
    """What this row needs.

    Attributes:
        registry: the queues there are.
        quarantine: where altered messages are.
    """

    registry: Registry
    quarantine: Quarantine

    async def list(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """A page of messages."""
        queue = queue_of(call, self.registry).name
        query = Query(scope, _NAMES)
        limit = query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX)
        after = query.integer("after", default=0, minimum=0, maximum=10**18 - 1)
        found = await self.quarantine.list(queue, limit=limit, after=after)
        last = str(found[-1].quarantine_id) if len(found) == limit else None
        await send_response(send, json_response(QuarantinePage(found, last)))

    def routes(self) -> tuple[Route, ...]:
        """The row."""
        path = "/api/queues/{queue}/quarantine"
        return (Route("quarantine_list", path, ("GET",), Auth.BEARER, self.list, _LIST, SEE),)


_LIST = Operation(
    "Messages of a queue that were altered, kept as they were found",
    _PARAMETERS,
    responses={200: ("A page.", QuarantinePage), 404: ("There is no such queue.", None)},
)
