"""The OpenAPI 3.1 document, made from the route table and its msgspec types. Not: what the routes do."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fluxa.kernel.errors import ERRORS, ErrorCode
from fluxa.web.problems import MEDIA_TYPE, Problem
from fluxa.web.responses import JSON, json_response, send_response
from fluxa.web.routes import Auth, Call, Media, Operation, Receive, Route, Scope, Send

PATH = "/openapi.json"

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"
_ERROR_MIN = 400

# What may end any request, one that needs a credential, one with parameters, one with a body.
_ANY = (ErrorCode.INTERNAL, ErrorCode.SHUTTING_DOWN)
_CLOSED = (ErrorCode.UNAUTHENTICATED,)
_PARAMETERS = (ErrorCode.INVALID_REQUEST,)
_BODY = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.REQUEST_TIMEOUT,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.OVERLOADED,
)


def route(routes: Sequence[Route], *, version: str) -> Route:
    """The row that serves the document of the other rows and of itself."""
    answer = json_response(None)

    async def serve(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, answer)

    operation = Operation("This document", responses={200: ("OpenAPI 3.1", {"type": "object"})})
    row = Route("openapi", PATH, ("GET",), Auth.OPEN, serve, operation)
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
            "securitySchemes": {
                "api_key": {"type": "http", "scheme": "bearer", "description": "An API key: `fluxa apikey create`."}
            },
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
        "security": [] if row.auth is Auth.OPEN else [{"api_key": []}],
    }
    if parameters:
        found["parameters"] = parameters
    if operation.request:
        content = {media: {"schema": _schema(kind, known)} for media, kind in operation.request.items()}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _responses(row: Route, has_parameters: bool, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:  # noqa: FBT001
    codes = [*_ANY]
    codes += _CLOSED if row.auth is not Auth.OPEN else ()
    codes += _PARAMETERS if has_parameters else ()
    codes += _BODY if row.operation.request else ()
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
