"""The public keys by which others check our access tokens (RFC 7517). Not: the keys (auth)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fluxa.web.responses import json_response, send_response
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Scope, Send, Terms

MAX_AGE_S: Final = 60
"""How long the list may be kept: well below the time for which a new key is published before it signs."""


def route(keys: Callable[[], Mapping[str, Sequence[Mapping[str, Any]]]]) -> Route:
    """The row; open, since the keys are public."""
    headers = ((b"cache-control", b"public, max-age=%d" % MAX_AGE_S),)

    async def show(_call: Call, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_response(send, json_response(keys(), headers=headers))

    schema = {
        "type": "object",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
    }
    operation = Operation("Keys that check access tokens", responses={200: ("A JWK set.", schema)})
    return Route("jwks", "/.well-known/jwks.json", ("GET",), Auth.OPEN, show, operation, Terms(Bucket.PUBLIC))
