"""Every span that Fluxa tells of, once: what it is and when; a house test compares this list with the code."""

import enum


class SpanName(enum.StrEnum):
    """What is done in a span; with its subject it makes the span's name (`send events`), bounded like a label."""

    SERVE = "serve"
    SEND = "send"
    CREATE = "create"
    FLUSH = "flush"
    PROCESS = "process"
    SETTLE = "settle"
    CALL = "call"


class SpanKind(enum.StrEnum):
    """OpenTelemetry's kinds of span."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"
    INTERNAL = "internal"


SPANS: dict[SpanName, tuple[SpanKind, str]] = {
    SpanName.SERVE: (SpanKind.SERVER, "A request is answered; named after its method and route."),
    SpanName.SEND: (SpanKind.PRODUCER, "Records are handed to a queue; its place travels in them."),
    SpanName.CREATE: (
        SpanKind.PRODUCER,
        "An event that names a trace of its own is taken in there; linked to the request.",
    ),
    SpanName.FLUSH: (SpanKind.CLIENT, "What several requests sent is committed together; linked to them."),
    SpanName.PROCESS: (SpanKind.CONSUMER, "A record is worked on: an event is stored, or a handler is called."),
    SpanName.SETTLE: (
        SpanKind.CLIENT,
        "What was claimed together is worked on and settled together; linked to its records.",
    ),
    SpanName.CALL: (SpanKind.CLIENT, "An outside service is called; its place goes out as `traceparent`."),
}
"""Each span's kind, and when it is told of."""
