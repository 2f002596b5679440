"""Traces by OpenTelemetry's SDK, sent by OTLP over HTTP: bounded, counted, and never in the way of work.

Imported only where tracing is on. Not: which spans there are (trace), or the settings (apps).
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opentelemetry import context as otel_context
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
from typing_extensions import override

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.telemetry.catalogue import Hook, OutageBegan, OutageEnded
from fluxa.telemetry.catalogue.spans import SPANS, SpanKind, SpanName
from fluxa.telemetry.trace import Attributes, Span, is_left_out

DEPENDENCY = "otlp"
"""What the collector is called where outages are told of."""

_KINDS = {
    SpanKind.SERVER: api.SpanKind.SERVER,
    SpanKind.CLIENT: api.SpanKind.CLIENT,
    SpanKind.PRODUCER: api.SpanKind.PRODUCER,
    SpanKind.CONSUMER: api.SpanKind.CONSUMER,
    SpanKind.INTERNAL: api.SpanKind.INTERNAL,
}
_STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    """Where spans go, and whose they are.

    Attributes:
        endpoint: the collector's URL for traces, `http://…/v1/traces`.
        headers: sent with each export; credentials, mostly.
        timeout_s: seconds that one export may take, repeats included.
        resource: what the process is: `service.name` and more.
        sampler: as `OTEL_TRACES_SAMPLER` names it.
        sampler_arg: as `OTEL_TRACES_SAMPLER_ARG`; a share for the samplers by ratio.
        waiting_max: spans that may wait for their export; more are dropped, and counted.
    """

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0
    resource: Mapping[str, str] = field(default_factory=dict)
    sampler: str = "parentbased_always_on"
    sampler_arg: str = "1.0"
    waiting_max: int = 8192


@dataclass(slots=True)
class SpanCounts:
    """What became of spans so far.

    Attributes:
        exported: taken by the collector.
        dropped: not even tried, because too many waited.
        failed: tried and not taken.
        is_up: whether the last export went well; True before the first.
    """

    exported: int = 0
    dropped: int = 0
    failed: int = 0
    is_up: bool = True


class Otlp:
    """A `fluxa.telemetry.trace.Tracer`, and a `fluxa.kernel.lifecycle.Service` that sends what it was told.

    Args:
        config: where to.
        hook: hears when the collector goes away and comes back.
        monotonic: measures outages, in seconds.

    Raises:
        FluxaError: `Configuration` for a sampler that is not known.
    """

    def __init__(self, config: OtlpConfig, *, hook: Hook, monotonic: Callable[[], float]) -> None:
        # It tells of every failed export by itself, in its own words; here the outage is told, once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._config = config
        self._sending = _Counted(_exporter(config), hook=hook, monotonic=monotonic)
        self._provider = TracerProvider(
            sampler=sampler_of(config.sampler, config.sampler_arg),
            resource=Resource(dict(config.resource)),
            shutdown_on_exit=False,
        )
        batches = BatchSpanProcessor(
            self._sending,
            max_queue_size=config.waiting_max,
            schedule_delay_millis=1000,
            max_export_batch_size=min(512, config.waiting_max),
            export_timeout_millis=config.timeout_s * 1000,
        )
        self._provider.add_span_processor(_Bounded(batches, self._sending, waiting_max=config.waiting_max))
        self._tracer = self._provider.get_tracer("fluxa")
        self._heeds_parents = config.sampler.startswith("parentbased_")
        self._stopped = False

    @property
    def counts(self) -> SpanCounts:
        """What became of spans so far."""
        return self._sending.counts

    async def start(self) -> None:
        """From now on it may be told on this loop when the collector goes away."""
        self._sending.listen(asyncio.get_running_loop())

    async def stop(self) -> None:
        """Send what waits, within five seconds; what cannot be sent by then is lost, and work does not wait for it."""
        if self._stopped:
            return
        self._stopped = True
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                return  # the loop has ended without waiting for this: nobody is left to be told

        # A thread that does not keep the process: a collector that takes and never answers must not either.
        threading.Thread(target=end, name="otlp-end", daemon=True).start()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await done.wait()
        except TimeoutError:
            self._sending.give_up()

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers with exports from the next one on."""
        self._sending.use(_exporter(replace(self._config, headers=headers)))

    async def flush(self) -> None:
        """Send what waits now; for tests."""
        await asyncio.to_thread(self._provider.force_flush)

    def begin(
        self,
        name: SpanName,
        subject: str,
        *,
        parent: str | None,
        links: Iterable[str] = (),
        attributes: Attributes | None = None,
        began_ns: int | None = None,
    ) -> Span:
        """As `Tracer.begin`."""
        if self._heeds_parents and parent is not None and is_left_out(parent):
            # Nobody will see it: the SDK would come to the same, and take its time.
            return _Unkept(parent)
        place = _context_of(parent)
        span = self._tracer.start_span(
            subject if name is SpanName.SERVE else f"{name} {subject}",
            context=otel_context.Context() if place is None else api.set_span_in_context(NonRecordingSpan(place)),
            kind=_KINDS[SPANS[name][0]],
            attributes=attributes,
            links=[Link(one) for text in links if (one := _context_of(text)) is not None],
            start_time=began_ns,
        )
        return _OtelSpan(span)


def _exporter(config: OtlpConfig) -> OTLPSpanExporter:
    return OTLPSpanExporter(endpoint=config.endpoint, headers=dict(config.headers) or None, timeout=config.timeout_s)


class _Unkept:
    """A span of a trace that is not kept: its parent's place stands for it."""

    __slots__ = ("traceparent",)

    def __init__(self, parent: str) -> None:
        self.traceparent = parent

    def note(self, attributes: Attributes) -> None:
        """Nobody wants to know."""

    def failed(self, code: str) -> None:
        """Nobody wants to know."""

    def end(self) -> None:
        """There is nothing to send."""


class _OtelSpan:
    """A span of the SDK behind our seam."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: api.Span) -> None:
        self._span = span
        own = span.get_span_context()
        self.traceparent = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def failed(self, code: str) -> None:
        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()


class _Counted(SpanExporter):
    """The exporter, with a count of what became of its spans; told of outages once, on the event loop."""

    def __init__(self, exporter: OTLPSpanExporter, *, hook: Hook, monotonic: Callable[[], float]) -> None:
        self.counts = SpanCounts()
        self.waiting = 0
        self.lock = threading.Lock()
        self._exporter = exporter
        self._next: OTLPSpanExporter | None = None
        self._hook = hook
        self._monotonic = monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._down_since_s: float | None = None

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell of outages on this loop: hooks are called on one thread."""
        self._loop = loop

    def use(self, exporter: OTLPSpanExporter) -> None:
        """Export by this one from the next time on: an export under way ends as it began."""
        with self.lock:
            self._next = exporter

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        detail = ""
        with self.lock:
            following, self._next = self._next, None
        if following is not None:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library left it so
            self._exporter = following
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever a library or a network does, work goes on
            result, detail = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        with self.lock:
            self.waiting -= len(spans)
            self.counts.is_up = result is SpanExportResult.SUCCESS
            if self.counts.is_up:
                self.counts.exported += len(spans)
            else:
                self.counts.failed += len(spans)
        self._tell(detail or "the collector did not take the spans")
        return result

    def _tell(self, detail: str) -> None:
        """Tell of a change; only the thread that exports comes here."""
        now_s = self._monotonic()
        signal: OutageBegan | OutageEnded
        if not self.counts.is_up and self._down_since_s is None:
            self._down_since_s, signal = now_s, OutageBegan(DEPENDENCY, detail)
        elif self.counts.is_up and self._down_since_s is not None:
            signal, self._down_since_s = OutageEnded(DEPENDENCY, now_s - self._down_since_s), None
        else:
            return
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._hook, signal)
            except RuntimeError:
                return  # the process ends; there is no loop to tell it on

    def give_up(self) -> None:
        """Stop trying: the process has waited long enough."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library left it so

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library left it so

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _Bounded(SpanProcessor):
    """Lets so many spans wait and no more; the SDK would drop the oldest ones without a count that we can read."""

    def __init__(self, inner: SpanProcessor, sending: _Counted, *, waiting_max: int) -> None:
        self._inner = inner
        self._sending = sending
        self._waiting_max = waiting_max

    @override
    def on_end(self, span: ReadableSpan) -> None:
        if not span.context.trace_flags.sampled:
            return
        sending = self._sending
        with sending.lock:
            if sending.waiting >= self._waiting_max:
                sending.counts.dropped += 1
                return
            sending.waiting += 1
        self._inner.on_end(span)

    @override
    def shutdown(self) -> None:
        self._inner.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def sampler_of(name: str, arg: str) -> sampling.Sampler:
    """The sampler of this name (`OTEL_TRACES_SAMPLER`).

    Raises:
        FluxaError: `Configuration`.
    """
    simple = {
        "always_on": sampling.ALWAYS_ON,
        "always_off": sampling.ALWAYS_OFF,
        "parentbased_always_on": sampling.DEFAULT_ON,
        "parentbased_always_off": sampling.DEFAULT_OFF,
    }
    by_ratio = {
        "traceidratio": sampling.TraceIdRatioBased,
        "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio,
    }
    if name in simple:
        return simple[name]
    if name not in by_ratio:
        known = ", ".join([*simple, *by_ratio])
        raise FluxaError(ErrorCode.CONFIGURATION, f"otel_traces_sampler is {name!r}; there are {known}.")
    try:
        return by_ratio[name](float(arg))
    except ValueError:
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"otel_traces_sampler_arg is {arg!r}; {name} needs a share between 0 and 1."
        ) from None


def _context_of(place: str | None) -> SpanContext | None:
    """A `traceparent` as the SDK has it; None for one that is not valid."""
    parts = place.split("-") if place else []
    try:
        _, trace_id, span_id, flags = parts[:4]
        found = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    except ValueError:
        return None
    return found if found.is_valid else None
