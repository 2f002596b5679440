"""Dead letters over HTTP: pages of them by filter, and one whole. Not: sending them back (redrives)."""

from dataclasses import dataclass

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.registry import Registry
from fluxa.station.queues.given import queue_of
from fluxa.station.queues.rules import view, whole_view
from fluxa.station.queues.schemas import LETTER_ID_PATTERN, LetterPage, WholeLetterView
from fluxa.station.queues.terms import SEE
from fluxa.web.queries import Query, parameter
from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Call, Operation, Receive, Route, Scope, Send

LIMIT_DEFAULT, LIMIT_MAX = 100, 500

_MOMENT = {"type": "string", "format": "date-time"}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
_PARAMETERS = (
    parameter("code", "Only letters of this error code."),
    parameter("record_id", "Only letters of this record."),
    parameter("key", "Only letters of this key."),
    parameter("failed_from", "Only what failed last at this time or later.", _MOMENT),
    parameter("failed_before", "Only what failed last before this time.", _MOMENT),
    parameter("limit", "Letters a page.", _LIMIT),
    parameter("after", "`next` of the page before.", {"type": "string", "pattern": LETTER_ID_PATTERN}),
)
_NAMES = frozenset(str(one["name"]) for one in _PARAMETERS)


@dataclass(frozen=True, slots=True)
class Letters:
    """What these rows need.

    Attributes:
        registry: the queues there are.
        backend: has their dead letters.
    """

    registry: Registry
    backend: QueueBackend

    async def list(self, call: Call, scope: Scope, _receive: Receive, send: Send) -> None:
        """A page of dead letters."""
        spec = queue_of(call, self.registry)
        query = Query(scope, _NAMES)
        which = DeadLetterFilter(
            codes=_given(query.text("code")),
            record_ids=_given(query.text("record_id")),
            keys=_given(query.text("key")),
            failed_from=query.moment("failed_from"),
            failed_before=query.moment("failed_before"),
        )
        limit = query.integer("limit", default=LIMIT_DEFAULT, minimum=1, maximum=LIMIT_MAX)
        after = query.integer("after", default=0, minimum=0, maximum=10**18 - 1)
        found = await self.backend.dead_letters(spec.name, which, limit=limit, after=str(after) if after else None)
        last = found[-1].message_id if len(found) == limit else None
        items = [view(letter, spec.retry.class_of) for letter in found]
        await send_response(send, json_response(LetterPage(items, last)))

    async def get(self, call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        """One dead letter."""
        spec, message_id = queue_of(call, self.registry), call.path_params["id"]
        found = await self.backend.dead_letters(spec.name, DeadLetterFilter(message_ids=(message_id,)), limit=1)
        if not found:
            raise FluxaError(
                ErrorCode.NOT_FOUND,
                f"There is no such dead letter of {spec.name}: it may have been sent again or deleted.",
            )
        await send_response(send, json_response(whole_view(found[0], spec.retry.class_of)))

    def routes(self) -> tuple[Route, ...]:
        """The rows."""
        path = "/api/queues/{queue}/dead-letters"
        return (
            Route("dead_letters_list", path, ("GET",), Auth.BEARER, self.list, _LIST, SEE),
            Route("dead_letters_get", f"{path}/{{id}}", ("GET",), Auth.BEARER, self.get, _GET, SEE),
        )


_LIST = Operation(
    "Dead letters of a queue, oldest first",
    _PARAMETERS,
    responses={200: ("A page.", LetterPage), 404: ("There is no such queue.", None)},
)
_GET = Operation(
    "One dead letter with its body",
    responses={200: ("The letter.", WholeLetterView), 404: ("There is no such queue or letter.", None)},
)


def _given(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
