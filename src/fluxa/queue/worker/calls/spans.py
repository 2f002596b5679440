"""The spans of handler calls: a record's in its own trace; several at once in one that is linked. Not: the calls."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from fluxa.queue.outcome import Dead, Outcome, Retry
from fluxa.queue.record import Record
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue.spans import SpanName
from fluxa.telemetry.trace import TRACEPARENT, Attributes


class Seen:
    """Hears what became of the records of a call."""

    def __init__(self) -> None:
        self.outcomes: Sequence[Outcome] = ()

    def came_to(self, outcomes: Sequence[Outcome]) -> None:
        """What became of the records, in order."""
        self.outcomes = outcomes


@contextlib.contextmanager
def calling(queue: str, records: Sequence[Record]) -> Iterator[Seen]:
    """The block calls a handler; to be used only where tracing is on."""
    seen, follows = Seen(), trace.tracer()
    if follows is None:
        yield seen
        return
    if len(records) == 1:
        record = records[0]
        place = record.headers.get(TRACEPARENT)
        span = follows.begin(SpanName.PROCESS, queue, parent=place, attributes=_facts(queue, record))
        with trace.current(span):
            yield seen
            if code := _code(seen.outcomes[0] if seen.outcomes else None):
                span.failed(code)
        return
    since_ns = time.time_ns()
    links = trace.sampled_links(record.headers.get(TRACEPARENT) for record in records)
    facts: Attributes = {"messaging.destination.name": queue, "messaging.batch.message_count": len(records)}
    with trace.current(follows.begin(SpanName.SETTLE, queue, parent=None, links=links, attributes=facts)) as whole:
        yield seen
    for place_, record in enumerate(records):
        place = record.headers.get(TRACEPARENT)
        if place is None or not trace.is_sampled(place):
            continue
        span = follows.begin(
            SpanName.PROCESS,
            queue,
            parent=place,
            links=(whole.traceparent,),
            attributes=_facts(queue, record),
            began_ns=since_ns,
        )
        if code := _code(seen.outcomes[place_] if place_ < len(seen.outcomes) else None):
            span.failed(code)
        span.end()


def _facts(queue: str, record: Record) -> Attributes:
    return {
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": record.id,
        "fluxa.attempt": record.attempt + 1,
    }


def _code(outcome: Outcome | None) -> str:
    return str(outcome.code) if isinstance(outcome, Retry | Dead) else ""
