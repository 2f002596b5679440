"""What the door answers, as it goes over the wire."""

import msgspec

from fluxa.web.problems import Problem


class Result(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of one event of a request.

    Attributes:
        status: `accepted` or `refused`.
        id: the event's id, if it was accepted.
        source: its source, if it was accepted.
        index: its place in the request, in an answer that leaves out the accepted ones.
        code: the error code, if it was refused.
        detail: what is wrong.
        pointer: JSON Pointer into the request: the event's place first, then the attribute.
    """

    status: str
    id: str | None = None
    source: str | None = None
    index: int | None = None
    code: str | None = None
    detail: str | None = None
    pointer: str | None = None


class Receipt(msgspec.Struct, frozen=True):
    """The answer to a request of which at least one event is durable.

    Attributes:
        accepted: how many events are durable.
        refused: how many are not.
        results: one for each event, in order; with `Prefer: return=minimal` only the refused ones.
    """

    accepted: int
    refused: int
    results: list[Result]


class RefusedBatch(Problem, omit_defaults=True, kw_only=True):
    """The problem document of a batch of which no event was accepted.

    Attributes:
        results: why, one for each event, in order.
    """

    results: list[Result]
