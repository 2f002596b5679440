"""Errors as the caller sees them: problem documents (RFC 9457) with a stable code and what to do next."""

import math
from collections.abc import Mapping

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ERRORS, ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId
from fluxa.web.responses import Headers, Response, json_response, send_response
from fluxa.web.routes import PAPERS, Auth, Call, Operation, Receive, Route, Scope, Send

MEDIA_TYPE = "application/problem+json"

# Their details tell of servers, statements and settings: the log has them, the caller gets the title.
_PRIVATE = frozenset(
    {
        ErrorCode.INTERNAL,
        ErrorCode.DB_REJECTED,
        ErrorCode.DB_CONNECTION_ERROR,
        ErrorCode.OBJECT_STORE_UNAVAILABLE,
        ErrorCode.CONFIGURATION,
    }
)
UNREAD = frozenset({ErrorCode.REQUEST_TOO_LARGE, ErrorCode.REQUEST_TIMEOUT})
"""These leave the rest of the request's body unread, so the connection cannot be used again."""


_CODES = frozenset(ErrorCode)
_BEARER = b'Bearer realm="fluxa"'
_CHALLENGES: Mapping[Auth, bytes] = {
    Auth.CRON: b'Fluxa-Signature realm="fluxa"',
    Auth.WEBHOOK: b'Webhook-Signature realm="fluxa"',
}


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A problem document.

    Attributes:
        type: names the kind of problem; relative to this server.
        title: the same for every occurrence of the code.
        status: the HTTP status.
        detail: what happened this time.
        code: stable, for programs.
        correlation_id: what to search the logs for.
        action: what to do next.
        pointer: JSON Pointer to the part of the request that is wrong.
        retry_after_s: seconds after which a repeat makes sense.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    correlation_id: str
    action: str
    pointer: str | None = None
    retry_after_s: int | None = None


def document(error: FluxaError, correlation_id: CorrelationId) -> Problem:
    """The document of an error."""
    spec = error.spec
    return Problem(
        type=f"/problems/{error.code}",
        title=spec.title,
        status=spec.status,
        detail=spec.title if is_private(error) else _printable(error.detail),
        code=error.code,
        correlation_id=correlation_id,
        action=spec.action,
        pointer=None if error.pointer is None else _printable(error.pointer),
        retry_after_s=None if error.retry_after_s is None else max(1, math.ceil(error.retry_after_s)),
    )


def is_private(error: FluxaError) -> bool:
    """Whether the error's detail is for the log alone."""
    return error.code in _PRIVATE


def problem(
    error: FluxaError, correlation_id: CorrelationId, *, headers: Headers = (), auth: Auth = Auth.BEARER
) -> Response:
    """The answer to a request that ended with an error; `auth` is how its route knows callers."""
    found = document(error, correlation_id)
    extra: list[tuple[bytes, bytes]] = [*headers]
    if found.retry_after_s is not None:
        extra.append((b"retry-after", b"%d" % found.retry_after_s))
    if found.status == ERRORS[ErrorCode.UNAUTHENTICATED].status:
        extra.append((b"www-authenticate", _CHALLENGES.get(auth, _BEARER)))
    if error.code in UNREAD:
        extra.append((b"connection", b"close"))
    return Response(
        status=found.status,
        body=json.encode(found),
        content_type=MEDIA_TYPE,
        headers=tuple(extra),
    )


class ProblemKind(msgspec.Struct, frozen=True):
    """What the `type` of a problem leads to.

    Attributes:
        code: the stable name.
        title: the same for every occurrence.
        status: the HTTP status.
        retry: transient, permanent or security: what may be done with work that failed so.
        action: what to do.
    """

    code: str
    title: str
    status: int
    retry: str
    action: str


async def _explain(call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
    code = call.path_params["code"]
    spec = ERRORS.get(ErrorCode(code)) if code in _CODES else None
    if spec is None:
        raise FluxaError(ErrorCode.NOT_FOUND, "There is no problem of this name.")
    await send_response(send, json_response(ProblemKind(code, spec.title, spec.status, spec.retry, spec.action)))


def route() -> Route:
    """The row that explains a problem to whoever follows its `type`; open, since it tells of nobody's data."""
    operation = Operation(
        "What a problem means",
        responses={200: ("Its explanation.", ProblemKind), 404: ("There is none of this name.", None)},
    )
    return Route("problem", "/problems/{code}", ("GET",), Auth.OPEN, _explain, operation, PAPERS)


def _printable(text: str) -> str:
    """Text that UTF-8 can carry: a detail may quote what a hostile caller sent."""
    return text.encode(errors="replace").decode()
