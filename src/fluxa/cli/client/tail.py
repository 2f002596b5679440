"""Follows the stream of new events (SSE) and connects again where it broke off. Not: how events are shown."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

from fluxa.cli.client.connection import Target, connect, problem, retry_after_s, unreachable
from fluxa.kernel import json
from fluxa.kernel.errors import FluxaError

_AGAIN = frozenset({429, 500, 502, 503, 504})
_PAUSE_S = 0.5
_PAUSE_MAX_S = 10.0
_SILENCE_S = 60.0


async def follow(
    locate: Callable[[], Target], filters: Mapping[str, str], *, after: str | None = None, patience: int = 20
) -> AsyncIterator[dict[str, Any]]:
    """New events, each once and in order, for as long as the caller wants.

    Args:
        locate: says whom to ask, before each attempt.
        filters: query parameters: type, source, subject.
        after: begin after this position, else with what comes from now on.
        patience: attempts in a row that may fail before the stream ends.

    Raises:
        FluxaError: what the service answered, or that it cannot be reached any more.
    """
    position = after
    failures = 0
    async with connect(locate()) as client:
        while True:
            target = locate()
            failure: FluxaError | None = None
            wait_s: float | None = None
            try:
                async with _open(client, target, filters, position) as response:
                    if response.status_code in _AGAIN:
                        await response.aread()
                        failure, wait_s = problem(response), retry_after_s(response)
                    elif not response.is_success:
                        await response.aread()
                        raise problem(response)
                    else:
                        failures = 0
                        async for name, identity, data in _frames(response):
                            position = identity or position
                            if data and name in {"", "message", "event"}:
                                yield json.decode(data)
            except httpx.TransportError as error:
                failure = unreachable(target.query_url, "query", error)
            failures += 1
            if failure is not None and failures > patience:
                raise failure
            await asyncio.sleep(wait_s if wait_s is not None else min(_PAUSE_MAX_S, _PAUSE_S * 2.0 ** (failures - 1)))


def _open(
    client: httpx.AsyncClient, target: Target, filters: Mapping[str, str], position: str | None
) -> AbstractAsyncContextManager[httpx.Response]:
    headers = {"accept": "text/event-stream"}
    if position is not None:
        headers["last-event-id"] = position
    timeout = httpx.Timeout(10.0, read=_SILENCE_S)  # the service sends a heartbeat more often than that
    return client.stream(
        "GET", f"{target.query_url}/v1/events/stream", params=dict(filters), headers=headers, timeout=timeout
    )


async def _frames(response: httpx.Response) -> AsyncIterator[tuple[str, str, str]]:
    """The frames of a stream: event name, id and data (WHATWG, server-sent events)."""
    name = identity = ""
    data: list[str] = []
    async for line in _lines(response):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if identity or data:
                yield name, identity, "\n".join(data)
            name = identity = ""
            data = []
        elif field == "data":
            data.append(value)
        elif field == "id":
            identity = value
        elif field == "event":
            name = value


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Lines as the stream means them: data may hold other characters that Python takes for the end of a line."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
