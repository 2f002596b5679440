"""`POST /v1/events`: from the wire to the door and back. Not: what an event is, or how it is stored."""

from collections.abc import Sequence
from dataclasses import replace

from fluxa.auth.roles import SENDERS
from fluxa.auth.scopes import Scope as KeyScope
from fluxa.events.ingest.door import Door, Sender
from fluxa.events.ingest.head import Head, read_head
from fluxa.events.ingest.schemas import Receipt, RefusedBatch, Result
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId
from fluxa.web.bodies import Bodies
from fluxa.web.idempotency import RequestKeys, fingerprint, key_of
from fluxa.web.problems import MEDIA_TYPE, Problem, document, is_private
from fluxa.web.responses import Headers, Response, json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Media, Operation, Receive, Route, Scope, Send, Terms

_MINIMAL: Headers = ((b"preference-applied", b"return=minimal"),)


def routes(door: Door, bodies: Bodies, keys: RequestKeys) -> Sequence[Route]:
    """The rows of the door.

    Args:
        door: takes the events in.
        bodies: reads requests within the limits.
        keys: remembers the answers to requests that carry an Idempotency-Key.
    """

    async def post_events(call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        principal = call.caller
        head = read_head(scope["headers"])
        key = key_of(scope)
        async with bodies.read(scope, receive) as body:

            async def take() -> Response:
                results = await door.take(head, body, Sender(principal.tenant, call.correlation_id))
                return respond(results, head, call.correlation_id)

            if key is None:
                answer = await take()
            else:
                answer = await keys.run(principal.tenant, key, fingerprint(scope, body), take)
        await send_response(send, answer)

    return (
        Route(
            "events_post",
            "/v1/events",
            ("POST",),
            Auth.BEARER,
            post_events,
            _OPERATION,
            replace(_SEND, body_max_bytes=bodies.max_bytes),
        ),
    )


def respond(results: Sequence[Result | FluxaError], head: Head, correlation_id: CorrelationId) -> Response:
    """The answer: 202 if any event is durable, else a problem that says of each why not."""
    shown = [item if isinstance(item, Result) else _refusal(item) for item in results]
    refused = sum(1 for item in results if not isinstance(item, Result))
    if refused == len(results):
        return _none_accepted(results, shown, correlation_id)
    if head.minimal:
        shown = [_at(index, item) for index, item in enumerate(shown) if not isinstance(results[index], Result)]
    receipt = Receipt(len(results) - refused, refused, shown)
    return json_response(receipt, status=202, headers=_MINIMAL if head.minimal else ())


def _refusal(error: FluxaError) -> Result:
    detail = error.spec.title if is_private(error) else error.detail
    return Result(
        "refused",
        code=error.code,
        detail=_printable(detail),
        pointer=None if error.pointer is None else _printable(error.pointer),
    )


def _at(index: int, result: Result) -> Result:
    return Result("refused", index=index, code=result.code, detail=result.detail, pointer=result.pointer)


def _printable(text: str) -> str:
    """A detail may quote what a hostile sender wrote; UTF-8 cannot carry all of it."""
    return text.encode(errors="replace").decode()


def _none_accepted(
    results: Sequence[Result | FluxaError], shown: list[Result], correlation_id: CorrelationId
) -> Response:
    errors = [item for item in results if isinstance(item, FluxaError)]
    codes = {error.code for error in errors}
    code = errors[0].code if len(codes) == 1 else ErrorCode.INVALID_EVENT
    one = document(FluxaError(code, f"None of the {len(errors)} events was accepted: see results."), correlation_id)
    members = {name: getattr(one, name) for name in Problem.__struct_fields__}
    members["status"] = 422
    problem = RefusedBatch(**members, results=shown)
    return Response(status=422, body=json.encode(problem), content_type=MEDIA_TYPE)


_ATTRIBUTE = {
    "type": "string",
    "minLength": 1,
    "maxLength": 1024,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
    "description": "at most 1024 bytes of UTF-8, without control characters",
}
_EVENT = {
    "title": "CloudEvent",
    "description": "CloudEvents 1.0.2, JSON event format; further members in a-z and 0-9 are extension attributes.",
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": _ATTRIBUTE,
        "source": {**_ATTRIBUTE, "format": "uri-reference"},
        "type": _ATTRIBUTE,
        "subject": _ATTRIBUTE,
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": _ATTRIBUTE,
        "dataschema": {**_ATTRIBUTE, "format": "uri"},
        "sha256": {"type": "string", "description": "SHA-256 of the data's bytes, hexadecimal or base64"},
        "data": {"description": "any JSON; a string where datacontenttype is not JSON"},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
    "propertyNames": {"pattern": "^([a-z0-9]{1,64}|data_base64)$"},
}


_REFUSED = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "correlation_id", "action"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "correlation_id", "action")},
        "status": {"type": "integer"},
        "pointer": {"type": ["string", "null"]},
        "results": {
            "description": "why each event of a batch was refused, in order",
            "type": "array",
            "items": {"type": "object", "required": ["status", "code", "detail"]},
        },
    },
}


def _header(name: str, description: str, pattern: str = "") -> dict[str, object]:
    schema = {"type": "string", "pattern": pattern} if pattern else {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_SEND = Terms(Bucket.EVENTS, SENDERS, scope=KeyScope.EVENTS_WRITE)
_OPERATION = Operation(
    summary="Take events in; what is answered as accepted is durable.",
    parameters=(
        _header(
            "Content-Digest",
            "sha-256 or sha-512 of the body as sent (RFC 9530); a mismatch is refused",
            "^(sha-256|sha-512)=:[A-Za-z0-9+/]+=*:$",
        ),
        _header("Idempotency-Key", "a repeat with the same key gets the first answer, for 24 hours", "^[!-~]{1,255}$"),
        _header("Prefer", "return=minimal: the results leave out the accepted events (RFC 7240)"),
        _header("X-Correlation-ID", "the story these events belong to, if traceparent does not say"),
    ),
    request={
        "application/cloudevents+json": _EVENT,
        "application/cloudevents-batch+json": {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": 10_000},
        "application/x-ndjson": {"type": "string", "description": "one event a line"},
    },
    responses={
        202: ("Durable; one result for each event, in order", Receipt),
        400: ("The body is not well formed, or a digest does not match", None),
        409: ("A request with this Idempotency-Key is being handled", None),
        413: ("Event, request or number of events over the limit", None),
        422: ("The one event is not valid, or none of the batch is (then with results)", Media(MEDIA_TYPE, _REFUSED)),
        429: ("More arrives than can be stored; Retry-After says when", None),
        503: ("The database or the object store cannot be reached; Retry-After says when", None),
    },
)
