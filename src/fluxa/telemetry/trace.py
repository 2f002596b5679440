"""What the engines say about traces: the span they are in, and spans of their own. Not: how spans are kept or sent.

Off, each of these costs one look at a context variable; the SDK behind `Tracer` is imported only where tracing is on.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Protocol

from fluxa.telemetry.catalogue.spans import SpanName

Attributes = Mapping[str, str | int | float | bool]

TRACEPARENT = "traceparent"
"""The name of the header that carries a span's place, in requests and in records (W3C Trace Context)."""
LINKS_MAX = 128
"""Links of one span, as many as collectors take by their own default."""
_SAMPLED = 1
_VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})\Z")
_PLACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})")


class Span(Protocol):
    """A piece of work that is under way, seen by whoever follows the trace."""

    traceparent: str
    """Its place, for those who go on with the trace."""

    def note(self, attributes: Attributes) -> None:
        """Add facts."""
        ...

    def failed(self, code: str) -> None:
        """It did not do what it was to do."""
        ...

    def end(self) -> None:
        """It is over."""
        ...


class Tracer(Protocol):
    """Begins spans."""

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
        """A span that has begun.

        Args:
            name: what is done; says the span's kind as well.
            subject: to what: a route, a queue, a target; bounded like a label.
            parent: the `traceparent` that it belongs to; None begins a trace.
            links: `traceparent` values of others that it has to do with.
            attributes: facts that are known now.
            began_ns: when it began, in nanoseconds since 1970, if not now.
        """
        ...


_tracer: ContextVar[Tracer | None] = ContextVar("fluxa_tracer", default=None)
_span: ContextVar[Span | None] = ContextVar("fluxa_span", default=None)
_OFF: contextlib.nullcontext[None] = contextlib.nullcontext()


def install(follows: Tracer | None) -> None:
    """From now on this task, and those it starts, tell of their spans here; None: nowhere."""
    _tracer.set(follows)
    _span.set(None)


def tracer() -> Tracer | None:
    """Who is told of spans; None where tracing is off."""
    return _tracer.get()


def traceparent() -> str | None:
    """The place of the span that this task is in; None if there is none."""
    span = _span.get()
    return None if span is None else span.traceparent


def ids() -> tuple[str, str] | None:
    """The trace id and the span id of the span that this task is in, as log lines carry them."""
    span = _span.get()
    return None if span is None else (span.traceparent[3:35], span.traceparent[36:52])


def is_sampled(place: str | None) -> bool:
    """Whether somebody upstream decided that this trace is kept; there is nothing to tell of one that is not."""
    found = _PLACE.match(place) if place is not None else None
    return found is not None and int(found[1], 16) & _SAMPLED == 1


def is_left_out(place: str) -> bool:
    """Whether somebody upstream decided that this trace is not kept; a place that cannot be read decides nothing."""
    found = _VALID.match(place)
    return found is not None and int(found[1], 16) & _SAMPLED == 0


def current(span: Span) -> contextlib.AbstractContextManager[Span]:
    """The block is in this span, and ends it."""
    return _Within(span)


def span(
    name: SpanName, subject: str, *, links: Iterable[str] = (), attributes: Attributes | None = None, root: bool = False
) -> contextlib.AbstractContextManager[Span | None]:
    """The block as a span below the one that this task is in; None where tracing is off.

    Args:
        name: what is done.
        subject: to what.
        links: others that it has to do with.
        attributes: facts that are known now.
        root: whether it begins a trace of its own, because it serves many.
    """
    follows = _tracer.get()
    if follows is None:
        return _OFF
    parent = None if root else traceparent()
    return _Within(follows.begin(name, subject, parent=parent, links=links, attributes=attributes))


def sampled_links(places: Iterable[str | None]) -> Sequence[str]:
    """The places that a span which serves many is linked to: those that are kept, each once, a bounded number."""
    found = dict.fromkeys(place for place in places if place is not None and is_sampled(place))
    return tuple(found)[:LINKS_MAX]


class _Within:
    """Sets the span that a task is in, and sets it back."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = _span.set(self._span)
        return self._span

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _span.reset(self._token)
        if kind is not None:
            self._span.failed(kind.__name__)
        self._span.end()
