"""A collector for tests: an OTLP receiver on loopback that keeps every span it gets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from fluxa.telemetry import trace
from fluxa.telemetry.catalogue import Signal, silent
from fluxa.telemetry.otlp import Otlp, OtlpConfig


@dataclass
class Tap:
    """What was received.

    Attributes:
        url: the receiver's base URL.
        spans: all spans, in the order they came.
    """

    url: str
    spans: list[Span] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, met: Callable[[list[Span]], bool], *, timeout_s: float = 30.0) -> None:
        """Wait until the spans are such.

        Raises:
            AssertionError: if they do not become so.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not met(self.spans):
                    self.changed.clear()
                    await self.changed.wait()
        assert met(self.spans), [one.name for one in self.spans]

    def named(self, name: str) -> list[Span]:
        """The spans of this name."""
        return [one for one in self.spans if one.name == name]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def tapping() -> AsyncIterator[Tap]:
    """A collector for as long as the block runs."""
    port = free_port()
    tap = Tap(f"http://127.0.0.1:{port}")
    async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as receiver:

        async def read() -> None:
            async for span in receiver.stream_traces():
                tap.spans.append(span)
                tap.changed.set()

        reading = asyncio.create_task(read())
        try:
            yield tap
        finally:
            reading.cancel()


def ids(span: Span) -> tuple[str, str, str]:
    """The trace, the span and its parent, as hexadecimal text."""
    return span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()


def facts(span: Span) -> dict[str, object]:
    """The span's attributes."""
    return {
        one.key: getattr(one.value, kind) if (kind := one.value.WhichOneof("value")) else None
        for one in span.attributes
    }


@contextlib.asynccontextmanager
async def following(url: str, *, heard: list[Signal] | None = None, **given: object) -> AsyncIterator[Otlp]:
    """Traces of this task and what it starts go there."""
    hook = silent if heard is None else heard.append
    found = Otlp(OtlpConfig(f"{url}/v1/traces", **given), hook=hook, monotonic=time.monotonic)  # type: ignore[arg-type]
    await found.start()
    trace.install(found)
    try:
        yield found
    finally:
        trace.install(None)
        await found.stop()
