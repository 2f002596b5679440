"""Opens a process's traces where the settings want them, and follows its requests. Without them nothing is imported."""

import contextlib
import os
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import fluxa
from fluxa.apps.serving.observe import Telemetry
from fluxa.apps.settings import Settings
from fluxa.apps.settings.fields import listed
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import Lifetime
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue.spans import SpanName
from fluxa.telemetry.trace import TRACEPARENT, Tracer
from fluxa.web.app import UNMATCHED, App
from fluxa.web.health import Refresh
from fluxa.web.routes import Message, Receive, Scope, Send
from fluxa.web.table import Table

if TYPE_CHECKING:
    from fluxa.telemetry.otlp import Otlp

_SERVER_ERROR: Final = 500


async def open_traces(life: Lifetime, settings: Settings, service: str, told: Telemetry, clock: Clock) -> "Otlp | None":
    """What traces are told to, from now on by everything that this task starts; what waits is sent when `life` stops.

    Raises:
        FluxaError: `Configuration`.
    """
    told.metrics.set_gauge("fluxa_tracing_enabled", settings.is_traced)
    if not settings.is_traced:
        told.metrics.forget_gauge("fluxa_trace_exporter_up")
        return None
    from fluxa.telemetry.otlp import Otlp, OtlpConfig  # noqa: PLC0415 - the SDK costs time and memory where it is off

    config = OtlpConfig(
        endpoint=_checked(settings.traces_url),
        headers=headers_of(settings),
        timeout_s=settings.otel_exporter_otlp_timeout,
        resource=_resource(settings, service),
        sampler=settings.otel_traces_sampler,
        sampler_arg=settings.otel_traces_sampler_arg,
    )
    found = Otlp(config, hook=told.hook, monotonic=clock.monotonic)
    await life.start(found)
    trace.install(found)
    return found


def headers_of(settings: Settings) -> Mapping[str, str]:
    """What is sent with each export. Raises `Configuration` for what are no headers."""
    return _pairs("otel_exporter_otlp_headers", settings.otel_exporter_otlp_headers)


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"Traces would go to {url!r}, which is no URL: correct otel_exporter_otlp_endpoint. They go by HTTP, "
            "for which collectors listen on port 4318; not by gRPC.",
        )
    return url


def _resource(settings: Settings, service: str) -> Mapping[str, str]:
    return {
        "service.namespace": "fluxa",
        "service.version": fluxa.__version__,
        "service.instance.id": f"{platform.node()}-{os.getpid()}",
        "fluxa.process": service,
        "telemetry.sdk.language": "python",
        "service.name": f"fluxa-{service}",
        **_pairs("otel_resource_attributes", settings.otel_resource_attributes),
        **({"service.name": settings.otel_service_name} if settings.otel_service_name else {}),
    }


def _pairs(setting: str, text: str | None) -> Mapping[str, str]:
    """`name=value` with commas between, values percent-encoded, as OpenTelemetry writes them."""
    pairs: dict[str, str] = {}
    for part in listed(text):
        name, mark, value = part.partition("=")
        if not mark or not name.strip():
            raise FluxaError(ErrorCode.CONFIGURATION, f"{setting} has a part that is not name=value.")
        pairs[name.strip()] = unquote(value.strip())
    return pairs


def counting(found: "Otlp", told: Telemetry) -> Refresh:
    """Brings the metrics of traces up to date before a scrape."""

    async def refresh() -> None:
        counts = found.counts
        told.metrics.set_gauge("fluxa_trace_exporter_up", counts.is_up)
        for outcome in ("exported", "dropped", "failed"):
            told.metrics.set_gauge("fluxa_trace_spans_total", getattr(counts, outcome), outcome)

    return refresh


class TracedApp:
    """An `App` whose requests are spans. A request that brings no trace begins one, and its story has that id."""

    def __init__(self, app: App, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer
        self._table = Table(app.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(TRACEPARENT.encode(), b"").decode("latin-1")
        method: str = scope["method"]
        route = self._route(method, scope["raw_path"])
        trace.install(self._tracer)  # whatever context the server made this task in
        span = self._tracer.begin(
            SpanName.SERVE,
            f"{method} {route}",
            parent=given or None,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "url.scheme": scope.get("scheme", "http"),
                "network.protocol.version": scope.get("http_version", "1.1"),
            },
        )
        if not given and b"x-correlation-id" not in headers:
            scope["headers"] = [*scope["headers"], (TRACEPARENT.encode(), span.traceparent.encode())]

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                span.note({"http.response.status_code": status})
                if status >= _SERVER_ERROR:
                    span.failed(str(status))
            await send(message)

        with trace.current(span):
            await self._app(scope, receive, noting)

    def _route(self, method: str, raw_path: bytes) -> str:
        """The path as the table has it: a span's name holds no ids."""
        with contextlib.suppress(FluxaError):
            return self._table.find(method, raw_path)[0].path
        return UNMATCHED
