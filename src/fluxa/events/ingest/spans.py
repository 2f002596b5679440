"""Whose trace an event goes on with. Off, which is how it is by itself, this costs a look. Not: what a span is."""

from fluxa.events.carriage import QUEUE
from fluxa.events.event import Event
from fluxa.kernel.ids import trace_id
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue.spans import SpanName


def place_of(event: Event) -> str | None:
    """What travels with the event as `traceparent`: the request's own place, or one in the trace that the event names.

    An event that names a trace of its own is followed there, as the CloudEvents extension asks; that span is linked
    to the request. None where tracing is off.
    """
    here = trace.traceparent()
    if here is None:
        return None
    own = event.extensions.get(trace.TRACEPARENT)
    named = trace_id(own) if isinstance(own, str) else None
    follows = trace.tracer()
    if named is None or follows is None or not isinstance(own, str) or named == trace_id(here):
        return here
    span = follows.begin(SpanName.CREATE, QUEUE, parent=own, links=(here,))
    span.end()
    return span.traceparent
