"""Sends an event the whole way as a user would, and times each leg. Not: whose it is, or where it goes (apps)."""

import asyncio
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import uuid7
from fluxa.operations.synthetic.check import PIPELINE, CheckName, Outcome, Result
from fluxa.operations.synthetic.probe import fetch, no_answer
from fluxa.operations.synthetic.rules import OK, UNREADABLE, refusal

SOURCE: Final = "/fluxa/synthetic"
TYPE: Final = "fluxa.synthetic.canary"
_ACCEPTED: Final = 202
_NOT_FOUND: Final = 404
_DENIED: Final = (401, 403)
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
_GIVE_UP_S: Final = 3600.0
"""After which an event that did not arrive is taken for lost, and another one is sent."""

Permit = Callable[[], AbstractAsyncContextManager[str]]
"""Gives a bearer token that ends with the block; raises `FluxaError` where there can be none."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where an event goes in and comes out: URLs of ingest and query."""

    ingest_url: str
    query_url: str


class Waiting(msgspec.Struct, frozen=True):
    """A canary that was accepted and has not been seen since.

    Attributes:
        event_id: its id.
        sent_at: when it was accepted, in Unix seconds.
    """

    event_id: str
    sent_at: float


@dataclass(frozen=True, slots=True)
class Flight:
    """What became of a canary.

    Attributes:
        outcome: for people.
        waiting: one that has not arrived; no other is sent while there is hope for it.
        arrived: ids of those that were found, and can be deleted.
    """

    outcome: Outcome
    waiting: Waiting | None = None
    arrived: tuple[str, ...] = ()


class _Item(msgspec.Struct):
    """What query says of a stored event."""

    received_at: dt.datetime
    stored_at: dt.datetime
    sha256: str
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What query answered: the event, or why there is none; `final` if it makes no sense to ask again."""

    item: _Item | None = None
    took_s: float = 0.0
    absent: bool = False
    reason: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class CanaryLimits:
    """How long a canary may take.

    Attributes:
        deadline_s: seconds from acceptance until the event must be readable.
        timeout_s: seconds that one answer may take.
    """

    deadline_s: float = 30.0
    timeout_s: float = 5.0


class Canary:
    """Sends canaries, one at a time: a processor that comes back finds one, not one for each minute it was away.

    Args:
        permit: lets it in.
        clock: the time.
        limits: how long it may take.
    """

    def __init__(self, permit: Permit, *, clock: Clock, limits: CanaryLimits) -> None:
        self._permit = permit
        self._clock = clock
        self._limits = limits

    async def fly(self, client: httpx.AsyncClient, way: Way, waiting: Waiting | None = None) -> Flight:
        """Send one and wait for it.

        Args:
            client: sends.
            way: where.
            waiting: one of before that had not arrived.
        """
        flight: Flight | None = None
        try:
            async with self._permit() as token:
                flight = await _Flyer(client, way, token, self._clock, self._limits).fly(waiting)
        except FluxaError as error:
            # No credential says nothing about the way. One that could not be ended ends by itself, in minutes.
            flight = flight or Flight(_outcome(Result.UNKNOWN, f"{error.code}: {error.detail}"), waiting)
        return flight


def _outcome(result: Result, detail: str = "", duration_s: float | None = None, **legs: float) -> Outcome:
    return Outcome(CheckName.CANARY, PIPELINE, result, duration_s, detail, legs)


class _Flyer:
    """One flight."""

    def __init__(self, client: httpx.AsyncClient, way: Way, token: str, clock: Clock, limits: CanaryLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._client = client
        self._way = way
        self._headers = {"authorization": f"Bearer {token}"}

    async def fly(self, waiting: Waiting | None) -> Flight:
        arrived: tuple[str, ...] = ()
        if waiting is not None:
            seen = await self._look(waiting.event_id)
            age_s = self._clock.now().timestamp() - waiting.sent_at
            if seen.item is not None:
                arrived = (waiting.event_id,)
            elif age_s < _GIVE_UP_S:
                return Flight(_outcome(Result.FAILED, _late(seen, age_s)), waiting)
        event_id, data = uuid7(), json.encode({"sent_at": self._clock.now().timestamp()})
        began_s = self._clock.monotonic()
        result, detail = await self._send(event_id, data)
        accept_s = self._clock.monotonic() - began_s
        if result is not Result.OK:
            return Flight(_outcome(result, detail, accept_s), arrived=arrived)
        sent = Waiting(event_id, self._clock.now().timestamp())
        seen = await self._await(event_id)
        duration_s = self._clock.monotonic() - began_s
        if seen.item is None:
            detail = _late(seen, self._limits.deadline_s)
            return Flight(_outcome(Result.FAILED, detail, duration_s), sent, arrived)
        arrived = (*arrived, event_id)
        if not hmac.compare_digest(seen.item.sha256, hashlib.sha256(data).hexdigest()) or seen.item.event.get(
            "data"
        ) != json.decode(data):
            detail = "query: it gave back other data than was sent"
            return Flight(_outcome(Result.FAILED, detail, duration_s), arrived=arrived)
        store_s = max(0.0, (seen.item.stored_at - seen.item.received_at).total_seconds())
        legs = {"accept": accept_s, "store": store_s, "read": seen.took_s}
        return Flight(_outcome(Result.OK, "", duration_s, **legs), arrived=arrived)

    async def _send(self, event_id: str, data: bytes) -> tuple[Result, str]:
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": SOURCE,
            "type": TYPE,
            "time": self._clock.now().isoformat(),
            "datacontenttype": "application/json",
            "data": msgspec.Raw(data),
        }
        headers = {
            **self._headers,
            "content-type": "application/cloudevents+json",
            "x-correlation-id": f"canary-{event_id}",
        }
        url = f"{self._way.ingest_url}/v1/events"
        request = self._client.build_request("POST", url, headers=headers, content=json.encode(event))
        try:
            status, body = await fetch(self._client, request, within_s=self._limits.timeout_s)
        except (httpx.HTTPError, TimeoutError) as error:
            result, reason = no_answer(error, self._limits.timeout_s)
            return result, f"ingest: {reason}"
        return (Result.OK, "") if status == _ACCEPTED else (Result.FAILED, f"ingest: {refusal(status, body)}")

    async def _await(self, event_id: str) -> _Seen:
        """Ask for it until it is there or its time is over."""
        until_s, pause_s = self._clock.monotonic() + self._limits.deadline_s, _PAUSE_S
        while True:
            seen = await self._look(event_id)
            left_s = until_s - self._clock.monotonic()
            if seen.item is not None or seen.final or left_s <= 0:
                return seen
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _look(self, event_id: str) -> _Seen:
        began_s = self._clock.monotonic()
        url = f"{self._way.query_url}/v1/events/{event_id}"
        request = self._client.build_request("GET", url, headers=self._headers, params={"source": SOURCE})
        try:
            status, body = await fetch(self._client, request, within_s=self._limits.timeout_s)
        except (httpx.HTTPError, TimeoutError) as error:
            return _Seen(reason=f"query: {no_answer(error, self._limits.timeout_s)[1]}")
        if status == OK:
            try:
                return _Seen(msgspec.json.decode(body, type=_Item), self._clock.monotonic() - began_s)
            except UNREADABLE as error:
                return _Seen(reason=f"query: an answer that is no event: {error}", final=True)
        if status == _NOT_FOUND:
            return _Seen(absent=True)
        return _Seen(reason=f"query: {refusal(status, body)}", final=status in _DENIED)


def _late(seen: _Seen, after_s: float) -> str:
    if seen.absent:
        return f"processor: accepted, and not stored {after_s:.0f} s later"
    return seen.reason
