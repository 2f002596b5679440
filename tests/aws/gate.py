"""A gate before a server that takes any access key: what a key in force has signed passes (Signature Version 4).

What it checks is what Amazon's documents say of the signature, written out here a second time.
"""

import asyncio
import contextlib
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from fluxa.testing.serving import serving
from fluxa.web.app import App

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+),\s*SignedHeaders=(?P<headers>[^,]+),"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})\Z"
)
_DROPPED = frozenset({"connection", "transfer-encoding", "content-encoding", "content-length", "date", "server"})


@dataclass
class Gate:
    """Who may pass now, and who did.

    Attributes:
        keys: secrets by access key id.
        passed: requests let through, by access key id.
        refused: requests sent back, by access key id.
    """

    behind: str
    keys: dict[str, str]
    url: str = ""
    passed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=60))

    async def until(self, counts: Counter[str], key: str, more: int = 1) -> None:
        """Wait until so many more requests of a key are counted there."""
        goal = counts[key] + more
        async with asyncio.timeout(60):
            while counts[key] < goal:  # noqa: ASYNC110 - a count, which tells nobody
                await asyncio.sleep(0.02)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Answer one request."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        found = _AUTHORIZATION.match(headers.get("authorization", ""))
        key = found["key"] if found else ""
        if found is None or not _is_signed(found, scope, headers, body, self.keys.get(key, "")):
            self.refused[key] += 1
            await _refuse(send, "SignatureDoesNotMatch" if key in self.keys else "InvalidClientTokenId", headers)
            return
        self.passed[key] += 1
        query = scope["query_string"].decode("latin-1")
        answer = await self._client.request(
            scope["method"],
            self.behind + scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
            content=body,
            headers={name: value for name, value in headers.items() if name != "content-length"},
        )
        kept = [(name.lower(), value) for name, value in answer.headers.items() if name.lower() not in _DROPPED]
        await _answer(send, answer.status_code, kept, answer.content, is_head=scope["method"] == "HEAD")

    async def close(self) -> None:
        """Close the way to the server."""
        await self._client.aclose()


def _is_signed(
    found: re.Match[str], scope: Mapping[str, Any], headers: Mapping[str, str], body: bytes, secret: str
) -> bool:
    names = found["headers"].split(";")
    content = headers.get("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
    canonical = "\n".join(
        [
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            "&".join(sorted(scope["query_string"].decode("latin-1").split("&"))),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            "",
            found["headers"],
            content,
        ]
    )
    day, region, service, end = found["scope"].split("/")
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            headers.get("x-amz-date", ""),
            found["scope"],
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    made = hmac.new(key, text.encode(), "sha256").hexdigest()
    return bool(secret) and hmac.compare_digest(made, found["signature"])


async def _refuse(send: Any, code: str, headers: Mapping[str, str]) -> None:  # noqa: ANN401 - ASGI
    if "x-amz-target" in headers:
        body = f'{{"__type": "{code}", "message": "no"}}'.encode()
        await _answer(send, 403, [("content-type", "application/x-amz-json-1.0")], body)
        return
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    await _answer(send, 403, [("content-type", "application/xml")], body)


async def _answer(
    send: Any,  # noqa: ANN401 - ASGI
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    is_head: bool = False,
) -> None:
    sent = [(name.encode(), value.encode()) for name, value in headers]
    if not is_head:
        sent.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": b"" if is_head else body})


@contextlib.asynccontextmanager
async def gate(behind: str, keys: dict[str, str]) -> AsyncIterator[Gate]:
    """A gate before a server, for as long as the block runs."""
    made = Gate(behind, keys)
    try:
        async with serving(cast("App", made)) as url:
            made.url = url
            yield made
    finally:
        await made.close()
