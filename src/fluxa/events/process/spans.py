"""The spans of a batch: one for the work together, and one for each event in its own trace. Not: what a span is."""

import contextlib
import time

from fluxa.events.process.batch import Batch
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue.spans import SpanName
from fluxa.telemetry.trace import TRACEPARENT, Attributes, Span


def together(queue: str, batch: Batch) -> contextlib.AbstractContextManager[Span | None]:
    """The block works on a batch; None where tracing is off."""
    if trace.tracer() is None:
        return contextlib.nullcontext()
    places = trace.sampled_links(item.record.headers.get(TRACEPARENT) for item in batch.items)
    facts: Attributes = {"messaging.destination.name": queue, "messaging.batch.message_count": len(batch.items)}
    return trace.span(SpanName.SETTLE, queue, links=places, attributes=facts, root=True)


def began_ns() -> int:
    """Now, as spans that are told of afterwards want their beginning; 0 where tracing is off."""
    return 0 if trace.tracer() is None else time.time_ns()


def apart(queue: str, batch: Batch, whole: Span | None, since_ns: int) -> None:
    """Tell of each event in its own trace, once what became of it is committed."""
    follows = trace.tracer()
    if follows is None or whole is None:
        return
    for item in batch.items:
        place = item.record.headers.get(TRACEPARENT)
        if place is None or not trace.is_sampled(place):
            continue
        facts: Attributes = {
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
            "messaging.message.id": item.record.id,
            "fluxa.attempt": item.attempt,
        }
        links = (whole.traceparent,)
        span = follows.begin(
            SpanName.PROCESS, queue, parent=place, links=links, attributes=facts, began_ns=since_ns or None
        )
        if item.failed is not None:
            span.failed(item.failed.code)
        span.end()
