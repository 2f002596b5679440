"""What an endpoint answers, as a value, and how it is sent. Not: errors (problems)."""

import msgspec

from fluxa.kernel import json
from fluxa.web.routes import Send

Headers = tuple[tuple[bytes, bytes], ...]
"""Response headers beyond content-type and content-length; names in lower case."""

JSON = "application/json"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer.

    Attributes:
        status: HTTP status.
        body: the bytes to send.
        content_type: their media type.
        headers: further headers.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Headers = ()


def json_response(value: object, *, status: int = 200, headers: Headers = ()) -> Response:
    """A JSON answer of a value that msgspec knows."""
    return Response(status=status, body=json.encode(value), headers=headers)


async def send_response(send: Send, response: Response, *, more: bool = False) -> None:
    """Send an answer in one piece; with `more` the caller ends it later."""
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [
                (b"content-type", response.content_type.encode("latin-1")),
                (b"content-length", b"%d" % len(response.body)),
                *response.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": response.body, "more_body": more})
