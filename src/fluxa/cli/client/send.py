"""Sends events in bulk: in batches, several at once, repeated until they are acknowledged or refused."""

import asyncio
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from fluxa.cli.client.connection import Target, answer, connect, problem, retry_after_s, unreachable
from fluxa.cli.client.source import Line
from fluxa.cli.errors import CommandError
from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_SHOWN = 10
_FIRST_PATIENCE_S = 2.0
_READ_AHEAD_LINES = 20_000


@dataclass(frozen=True, slots=True)
class SendLimits:
    """How to send.

    Attributes:
        batch_events: events of one request at most.
        batch_bytes: bytes of one request at most.
        requests: requests under way at once.
        patience_s: seconds for which one request is repeated before the sending ends.
        pause_s: seconds before the first repeat, where the service names none; doubled up to 5.
    """

    batch_events: int = 500
    batch_bytes: int = 4 * 1024 * 1024
    requests: int = 4
    patience_s: float = 60.0
    pause_s: float = 0.2


@dataclass(slots=True)
class Summary:
    """What became of what was sent.

    Attributes:
        accepted: events that are durable.
        refused: events that are not, by error code.
        repeats: requests that were sent again.
        examples: the first refusals: line, code, detail, pointer.
    """

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    examples: list[dict[str, object]] = field(default_factory=list)

    def refuse(self, line: Line, result: dict[str, Any]) -> None:
        """Note one refusal."""
        code = str(result.get("code", ErrorCode.INVALID_EVENT))
        self.refused[code] += 1
        if len(self.examples) < _SHOWN:
            example = {"line": line.number, "code": code, "detail": result.get("detail")}
            self.examples.append({**example, "pointer": result.get("pointer")})


class Sender:
    """Sends the lines of a source; each event is acknowledged or refused when `run` returns.

    A repeat is harmless: an event's identity is stored once however often it arrives.
    """

    def __init__(
        self, target: Target, limits: SendLimits, *, clock: Clock, progress: Callable[[int, int], None]
    ) -> None:
        """Prepare to send.

        Args:
            target: where to.
            limits: how.
            clock: measures patience.
            progress: called with events and bytes of the source that are done.
        """
        self._target = target
        self._limits = limits
        self._clock = clock
        self._progress = progress
        self.summary = Summary()
        self._reached = False

    async def run(self, lines: Iterator[Line]) -> Summary:
        """Send all lines.

        Raises:
            FluxaError: what a service answered for a whole request, or that it cannot be reached any more.
        """
        feed = _Feed(lines)
        async with connect(self._target) as client:
            workers = [asyncio.create_task(self._work(client, feed)) for _ in range(self._limits.requests)]
            try:
                await asyncio.gather(*workers)
            finally:
                feed.close()
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return self.summary

    async def _work(self, client: httpx.AsyncClient, feed: "_Feed") -> None:
        while batch := await feed.next_batch(self._limits.batch_events, self._limits.batch_bytes):
            response = await self._post(client, b"\n".join(line.text for line in batch) + b"\n")
            self._note(batch, response)
            self._progress(len(batch), sum(line.bytes_read for line in batch))

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> httpx.Response:
        url = self._target.ingest_url
        headers = {"content-type": "application/x-ndjson", "prefer": "return=minimal"}
        began = self._clock.monotonic()
        deadline = began + self._limits.patience_s
        pause_s = self._limits.pause_s
        while True:
            asked_s: float | None = None
            try:
                response = await client.post(f"{url}/v1/events", content=body, headers=headers)
            except httpx.TransportError as error:
                failure: FluxaError = unreachable(url, "ingest", error)
            else:
                self._reached = True
                if response.status_code not in _AGAIN:
                    return response
                failure, asked_s = problem(response), retry_after_s(response)
            if not self._reached and isinstance(failure, CommandError):
                deadline = min(deadline, began + _FIRST_PATIENCE_S)  # nobody ever answered there: say so soon
            wait_s = pause_s * (0.5 + random.random() / 2) if asked_s is None else asked_s  # noqa: S311 - no secret
            if self._clock.monotonic() + wait_s > deadline:
                raise failure
            self.summary.repeats += 1
            await asyncio.sleep(wait_s)
            pause_s = min(5.0, pause_s * 2)

    def _note(self, batch: list[Line], response: httpx.Response) -> None:
        refused = _refusals(response)
        for index, result in refused.items():
            self.summary.refuse(batch[index], result)
        self.summary.accepted += len(batch) - len(refused)


def _refusals(response: httpx.Response) -> dict[int, dict[str, Any]]:
    """The refused events of a request by their place in it.

    Raises:
        FluxaError: the problem, if the request was refused for another reason than its events.
    """
    if response.is_success:
        results = answer(response)["results"]
        return {int(result["index"]): result for result in results if result["status"] == "refused"}
    body = json.decode(response.content) if "json" in response.headers.get("content-type", "") else {}
    results = body.get("results") if isinstance(body, dict) else None
    if not results:
        raise problem(response)
    return {int(result.get("index", place)): result for place, result in enumerate(results)}


class _Feed:
    """Reads the source in a thread, since a file or a terminal may keep us waiting, and makes batches."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._read_ahead: deque[Line] = deque()
        self._room = threading.Semaphore(_READ_AHEAD_LINES)
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._taking = asyncio.Lock()
        self._ended = False
        self._closed = False
        self._failure: Exception | None = None
        threading.Thread(target=self._read, name="source", daemon=True).start()

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._room.release()

    def _read(self) -> None:
        try:
            for line in self._lines:
                self._room.acquire()
                if self._closed:
                    return
                self._read_ahead.append(line)
                if not self._more.is_set():
                    self._loop.call_soon_threadsafe(self._more.set)
        except Exception as error:  # noqa: BLE001 - raised again where the lines are taken
            self._failure = error
        self._ended = True
        if not self._closed:
            self._loop.call_soon_threadsafe(self._more.set)

    async def next_batch(self, events: int, size: int) -> list[Line]:
        """What is there by now, at least one line and at most so many; nothing at the end of the source."""
        async with self._taking:
            while not self._read_ahead:
                if self._ended:
                    if self._failure is not None:
                        raise self._failure
                    return []
                self._more.clear()
                if not self._read_ahead and not self._ended:  # either may have come just before the clearing
                    await self._more.wait()
            batch: list[Line] = []
            held_bytes = 0
            while self._read_ahead and len(batch) < events:
                held_bytes += len(self._read_ahead[0].text) + 1
                if batch and held_bytes > size:
                    break
                batch.append(self._read_ahead.popleft())
                self._room.release()
            return batch
