"""A sender as a producer would write one: several connections, NDJSON, repeats until it has an answer."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator

import httpx
import msgspec

from demo.ledger import Ledger
from demo.mischief import Line
from fluxa.kernel.errors import ErrorCode, RetryClass, retry_class

_PAUSE_S = 0.2
_REPEATABLE = {429, 503, 408}
_PROCESSED = {202, 422}
_NEVER_STORED = {429, 408}


class _Result(msgspec.Struct):
    status: str
    id: str | None = None
    code: str | None = None
    detail: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Result]


_decode = msgspec.json.Decoder(_Answer).decode


async def _at_once() -> None:
    """Wait for nothing."""


class Sender:
    """Sends lines and enters every answer in the ledger.

    Args:
        url: of the ingest service.
        api_key: the tenant's key.
        ledger: the book.
        batch: lines a request.
    """

    def __init__(self, url: str, api_key: str, ledger: Ledger, *, batch: int = 500) -> None:
        self._ledger = ledger
        self._batch = batch
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {api_key}", "content-type": "application/x-ndjson"},
            timeout=60,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(
        self,
        lines: Iterator[Line],
        *,
        connections: int = 1,
        progress: Callable[[int], None] = lambda _sent: None,
        turn: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        """Send all lines; returns when each has its answer.

        Args:
            lines: what to send.
            connections: requests under way at once.
            progress: called with the number of lines of each request that was answered.
            turn: awaited before each request: who paces the sender waits here.

        Raises:
            RuntimeError: for an answer that a producer could do nothing about.
        """
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(self._work(lines, progress, turn))

    async def _work(
        self, lines: Iterator[Line], progress: Callable[[int], None], turn: Callable[[], Awaitable[None]]
    ) -> None:
        while batch := list(itertools.islice(lines, self._batch)):
            await turn()
            size = len(batch)
            while batch:
                batch = await self._post(batch)
            progress(size)

    async def _post(self, batch: list[Line]) -> list[Line]:
        """Send one request; returns the lines that must be sent again."""
        try:
            response = await self._http.post("/v1/events", content=b"\n".join(line.text for line in batch))
        except httpx.TransportError as error:
            self._ledger.lost(batch)
            return await self._again(batch, type(error).__name__, _PAUSE_S)
        if response.status_code in _REPEATABLE:
            if response.status_code not in _NEVER_STORED:
                self._ledger.lost(batch)
            pause_s = float(response.headers.get("retry-after", _PAUSE_S))
            return await self._again(batch, str(response.status_code), pause_s)
        if response.status_code not in _PROCESSED:
            raise RuntimeError(f"the ingest service answered {response.status_code}: {response.text[:500]}")
        return await self._enter(batch, _decode(response.content).results)

    async def _enter(self, batch: list[Line], results: list[_Result]) -> list[Line]:
        if len(results) != len(batch):
            raise RuntimeError(f"{len(batch)} lines were sent, {len(results)} were answered")
        self._ledger.requests += 1
        again: list[Line] = []
        for line, result in zip(batch, results, strict=True):
            if result.code is not None and retry_class(result.code) is RetryClass.TRANSIENT:
                if result.code != ErrorCode.OVERLOADED:
                    self._ledger.lost([line])
                again.append(line)
            else:
                self._ledger.answered(line, result.code)
        return await self._again(again, "part of a request", _PAUSE_S) if again else []

    async def _again(self, batch: list[Line], reason: str, pause_s: float) -> list[Line]:
        self._ledger.repeats[reason] += 1
        await asyncio.sleep(pause_s)
        return batch
