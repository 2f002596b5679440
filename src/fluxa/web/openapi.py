"""The OpenAPI 3.1 document, made from the route table and its msgspec types. Not: what the routes do."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fluxa.kernel.errors import ERRORS, ErrorCode
from fluxa.web.problems import MEDIA_TYPE, Problem
from fluxa.web.responses import JSON, json_response, send_response
from fluxa.web.routes import PAPERS, Auth, Bucket, Call, Media, Operation, Receive, Route, Scope, Send

PATH = "/openapi.json"

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"
_ERROR_MIN = 400

# What may end any request, one that is counted or needs a credential, one whose caller has a role, one with parameters,
# one with a body.
_ANY = (ErrorCode.INTERNAL, ErrorCode.SHUTTING_DOWN, ErrorCode.HANDLER_TIMEOUT, ErrorCode.REQUEST_TOO_LARGE)
_COUNTED = (ErrorCode.RATE_LIMITED,)
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
    "api_key": {"type": "http", "scheme": "bearer", "description": "An API key or an access token."},
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
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Correlation-ID": {
        "description": "Names this request's story; search the logs for it, or ask for its trace.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of the bucket for this client, and the seconds until there is more: "
        '`"query";r=1199;t=60` (draft-ietf-httpapi-ratelimit-headers).',
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": 'How much the bucket holds for each client, in how many seconds: `"query";q=1200;w=60`. It has '
        "no such header where the settings give it no limit.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds after which a repeat makes sense.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How callers are known here.", "schema": {"type": "string"}},
}
_UNAUTHENTICATED = ERRORS[ErrorCode.UNAUTHENTICATED].status
_FORBIDDEN = ERRORS[ErrorCode.FORBIDDEN].status
_LIMITED = ERRORS[ErrorCode.RATE_LIMITED].status
_UNAVAILABLE = ERRORS[ErrorCode.SHUTTING_DOWN].status
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
            "headers": _HEADERS,
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
        **_terms(row),
    }
    if parameters:
        found["parameters"] = parameters
    if operation.request:
        content = {media: {"schema": _schema(kind, known)} for media, kind in operation.request.items()}
        found["requestBody"] = {"required": not operation.request_optional, "content": content}
    return found


def _terms(row: Route) -> dict[str, Any]:
    """The row's terms; roles that are bound at run time are not among them (`fluxa routes`)."""
    terms = row.terms
    found: dict[str, Any] = {
        "x-fluxa-auth": row.auth.value,
        "x-fluxa-bucket": terms.bucket.value,
        "x-fluxa-body-max-bytes": terms.body_max_bytes,
        "x-fluxa-timeout-s": terms.timeout_s,
    }
    if row.auth is Auth.BEARER:
        found |= {"x-fluxa-roles": sorted(terms.roles), "x-fluxa-platform": terms.platform}
        found["x-fluxa-scope"] = terms.scope
    return found


def _responses(row: Route, has_parameters: bool, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:  # noqa: FBT001
    codes = [*_ANY]
    codes += _COUNTED if row.terms.bucket is not Bucket.NONE or row.auth is not Auth.OPEN else ()
    codes += _CLOSED if row.auth is not Auth.OPEN else ()
    codes += _NARROW if row.auth is Auth.BEARER else ()
    codes += _PARAMETERS if has_parameters else ()
    codes += _BODY if row.operation.request or row.auth in {Auth.CRON, Auth.WEBHOOK} else ()
    titles: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        titles.setdefault(ERRORS[code].status, []).append(ERRORS[code].title)
    if row.auth is Auth.BEARER:
        tenant = " of the default tenant" if row.terms.platform else ""
        titles[_FORBIDDEN] = [
            f"It takes one of the roles {', '.join(sorted(row.terms.roles))}{tenant}, or what is bound"
        ]
    found = {status: _problem(status, "; or: ".join(texts), row, known) for status, texts in titles.items()}
    for status, (text, kind) in row.operation.responses.items():
        found[status] = _response(status, text, kind, row, known)
    return {str(status): found[status] for status in sorted(found)}


def _response(status: int, text: str, kind: object, row: Route, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if kind is None and status >= _ERROR_MIN:
        return _problem(status, text, row, known)
    found: dict[str, Any] = {"description": text, "headers": _headers(status, row)}
    if kind is not None:
        media = kind.type if isinstance(kind, Media) else JSON
        found["content"] = {media: {"schema": _schema(kind, known)}}
    return found


def _problem(status: int, text: str, row: Route, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": known[Problem]}}
    return {"description": text, "headers": _headers(status, row), "content": content}


def _headers(status: int, row: Route) -> dict[str, Any]:
    names = ["X-Correlation-ID"]
    # A request is counted once its caller is known, and one that is refused for its credential in a bucket of its own.
    if status == _LIMITED or (row.terms.bucket is not Bucket.NONE and status != _UNAUTHENTICATED):
        names += ["RateLimit", "RateLimit-Policy"]
    if status in {_LIMITED, _UNAVAILABLE}:
        names.append("Retry-After")
    if status == _UNAUTHENTICATED:
        names.append("WWW-Authenticate")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schema(kind: Any, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - a type or a schema
    if isinstance(kind, dict):
        return kind
    return kind.schema if isinstance(kind, Media) else known[kind]
