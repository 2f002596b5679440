"""The OpenAPI 3.1 document, made from the route table and its msgspec types. Not: what the routes do."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fluxa.kernel.errors import ERRORS, ErrorCode
from fluxa.web.problems import MEDIA_TYPE, Problem
from fluxa.web.responses import JSON, json_response, send_response
from fluxa.web.routes import PAPERS, Auth, Call, Media, Operation, Receive, Route, Scope, Send

PATH = "/openapi.json"

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"
_ERROR_MIN = 400

# What may end any request, one that needs a credential, one of operators, one with parameters, one with a body.
_ANY = (ErrorCode.INTERNAL, ErrorCode.SHUTTING_DOWN)
_CLOSED = (ErrorCode.UNAUTHENTICATED,)
_NARROW = (ErrorCode.FORBIDDEN,)
_PARAMETERS = (ErrorCode.INVALID_REQUEST,)
_BODY = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.REQUEST_TIMEOUT,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.OVERLOADED,
)


def _header(name: str, description: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name, "description": description}


_SCHEMES: dict[str, dict[str, str]] = {
    "api_key": {"type": "http", "scheme": "bearer", "description": "An API key: `fluxa apikey create`."},
    "signature_time": _header("X-Fluxa-Timestamp", "When the call was signed, in Unix seconds; within 300 s of now."),
    "signature_nonce": _header("X-Fluxa-Nonce", "16 to 128 of A-Z a-z 0-9 _ -, never used before."),
    "signature": _header(
        "X-Fluxa-Signature",
        "`v1=` and the hexadecimal HMAC-SHA256, with a secret of `cron_secrets`, of these lines joined by line feeds: "
        "`v1`, the timestamp, the nonce, the method, the path with its query, the hexadecimal SHA-256 of the body.",
    ),
    "webhook": _header(
        "Webhook-Signature",
        "The provider's own signature, in the headers that it has for it: see the guide on webhooks.",
    ),
    "override": _header("X-Fluxa-Override", "The token of `queue_processor_override_token`, for emergencies."),
}
_SECURITY: dict[Auth, tuple[dict[str, list[str]], ...]] = {
    Auth.OPEN: (),
    Auth.BEARER: ({"api_key": []},),
    Auth.WEBHOOK: ({"webhook": []},),
    Auth.CRON: ({"signature_time": [], "signature_nonce": [], "signature": []}, {"override": []}),
}


def route(routes: Sequence[Route], *, version: str) -> Route:
    """The row that serves the document of the other rows and of itself."""
    answer = json_response(None)

    async def serve(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, answer)

    operation = Operation("This document", responses={200: ("OpenAPI 3.1", {"type": "object"})})
    row = Route("openapi", PATH, ("GET",), Auth.OPEN, serve, operation, PAPERS)
    answer = json_response(document([*routes, row], version=version))
    return row


def document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """The whole document, ready to be written as JSON."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in sorted(routes, key=lambda row: row.path):
        for method in row.methods:
            paths.setdefault(row.path, {})[method.lower()] = _operation(row, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fluxa", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": _SCHEMES,
        },
    }


def _types(routes: Iterable[Route]) -> Iterable[Any]:
    yield Problem
    for row in routes:
        described = [*row.operation.request.values(), *(kind for _text, kind in row.operation.responses.values())]
        yield from (kind for kind in described if not isinstance(kind, dict | Media | None))


def _operation(row: Route, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation = row.operation
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(row.path)
    ]
    parameters = [*in_path, *operation.parameters]
    found: dict[str, Any] = {
        "operationId": row.name,
        "summary": operation.summary,
        "responses": _responses(row, bool(parameters), known),
        "security": [dict(one) for one in _SECURITY[row.auth]],
    }
    if parameters:
        found["parameters"] = parameters
    if operation.request:
        content = {media: {"schema": _schema(kind, known)} for media, kind in operation.request.items()}
        found["requestBody"] = {"required": not operation.request_optional, "content": content}
    return found


def _responses(row: Route, has_parameters: bool, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:  # noqa: FBT001
    codes = [*_ANY]
    codes += _CLOSED if row.auth is not Auth.OPEN else ()
    codes += _NARROW if row.auth is Auth.BEARER else ()
    codes += _PARAMETERS if has_parameters else ()
    codes += _BODY if row.operation.request or row.auth in {Auth.CRON, Auth.WEBHOOK} else ()
    found = {ERRORS[code].status: _problem(ERRORS[code].title, known) for code in codes}
    for status, (text, kind) in row.operation.responses.items():
        found[status] = _response(status, text, kind, known)
    return {str(status): found[status] for status in sorted(found)}


def _response(status: int, text: str, kind: object, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if kind is None:
        return _problem(text, known) if status >= _ERROR_MIN else {"description": text, "headers": _headers()}
    media = kind.type if isinstance(kind, Media) else JSON
    return {"description": text, "headers": _headers(), "content": {media: {"schema": _schema(kind, known)}}}


def _problem(text: str, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    return {"description": text, "headers": _headers(), "content": {MEDIA_TYPE: {"schema": known[Problem]}}}


def _headers() -> dict[str, Any]:
    return {
        "X-Correlation-ID": {
            "description": "Names this request's story; search the logs for it, or ask for its trace.",
            "schema": {"type": "string"},
        }
    }


def _schema(kind: Any, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - a type or a schema
    if isinstance(kind, dict):
        return kind
    return kind.schema if isinstance(kind, Media) else known[kind]
