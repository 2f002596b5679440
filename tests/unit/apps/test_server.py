"""The HTTP server over real sockets: how it stops, and what it does not let a client do to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fluxa.apps.serving.server import ServerLimits, bind, serve

_REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass
class Served:
    """A server whose one answer waits for the test."""

    port: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        self.asked.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def drain(self) -> None:
        self.drained.set()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def _serving(limits: ServerLimits) -> AsyncIterator[Served]:
    bound = bind("127.0.0.1", 0, setting="ingest_port")
    served, ready = Served(bound.getsockname()[1]), asyncio.Event()
    served.task = asyncio.create_task(
        serve(served, bound, limits, stopping=served.stopping, ready=ready.set, drain=served.drain)
    )
    await ready.wait()
    try:
        yield served
    finally:
        served.may_answer.set()
        served.stopping.set()
        await served.task


@pytest.mark.req("PIPE-11")
async def test_a_request_in_flight_is_answered_although_the_server_stops() -> None:
    async with _serving(ServerLimits(timeout_s=10)) as served:
        reader, writer = await served.connect()
        writer.write(_REQUEST)
        await served.asked.wait()
        served.stopping.set()
        await served.drained.wait()
        served.may_answer.set()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"ok")


async def test_one_that_never_ends_is_cut_off_after_its_time() -> None:
    async with _serving(ServerLimits(timeout_s=0.3)) as served:
        _, writer = await served.connect()
        writer.write(_REQUEST)
        await served.asked.wait()
        served.stopping.set()
        assert served.task is not None
        await asyncio.wait_for(asyncio.shield(served.task), 10)
        writer.close()


async def test_nobody_is_let_in_once_it_has_stopped() -> None:
    async with _serving(ServerLimits()) as served:
        served.stopping.set()
        assert served.task is not None
        await asyncio.shield(served.task)
        with pytest.raises(ConnectionRefusedError):
            await served.connect()


async def test_a_head_without_end_is_refused_before_it_fills_the_memory() -> None:
    async with _serving(ServerLimits(head_bytes=65536)) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(10_000):
                writer.write(b"x-%d: %s\r\n" % (number, b"a" * 1000))
                await writer.drain()
            raise AssertionError("ten megabytes of headers were taken")
        with contextlib.suppress(ConnectionError):
            assert b" 431 " in await reader.read(100)
        writer.close()
    assert not served.asked.is_set()


async def test_a_head_that_does_not_come_loses_its_connection() -> None:
    async with _serving(ServerLimits(head_timeout_s=0.2)) as served:
        slow, slow_writer = await served.connect()
        slow_writer.write(b"GET / HTTP/1.1\r\nhost:")
        silent, silent_writer = await served.connect()
        said, nothing = await asyncio.wait_for(asyncio.gather(slow.read(), silent.read()), 10)
        slow_writer.close()
        silent_writer.close()
    assert b" 408 " in said
    assert b"RequestTimeout" in said
    assert nothing == b""


async def test_a_slow_answer_and_a_pause_between_requests_are_not_taken_for_a_late_head() -> None:
    async with _serving(ServerLimits(head_timeout_s=0.2)) as served:
        reader, writer = await served.connect()
        for _ in range(2):
            writer.write(_REQUEST)
            await served.asked.wait()
            await asyncio.sleep(1.5)  # longer than a head may take, and than the watch's own interval
            served.may_answer.set()
            answer = await asyncio.wait_for(reader.readuntil(b"ok"), 10)
            assert answer.startswith(b"HTTP/1.1 200")
            served.asked.clear()
        writer.close()


async def test_one_long_head_and_many_requests_on_a_connection_are_served() -> None:
    async with _serving(ServerLimits(head_bytes=65536)) as served:
        served.may_answer.set()
        reader, writer = await served.connect()
        for _ in range(20):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 30_000 + b"\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 10)).startswith(b"HTTP/1.1 200")
        writer.close()
