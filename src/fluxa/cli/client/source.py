"""Reads events from a file or standard input, whatever their form, as one JSON text each. Not: sending them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from fluxa.cli.errors import CommandError
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.ids import uuid7

_SPACE_OR_BOM = b" \t\r\n\xef\xbb\xbf"
"""What may stand before the first event; some editors begin a file with a byte order mark."""


class Wrap(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes for data that is not yet an event.

    Attributes:
        type: what kind of thing happened.
        source: where it comes from.
        subject: what it happened to.
        correlationid: the story it belongs to.
        id: the event's id; a new one for each if there is none.
    """

    type: str
    source: str
    subject: str | None = None
    correlationid: str | None = None
    id: str | None = None

    def around(self, data: bytes) -> bytes:
        """An event with this JSON as its data."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return json.encode({"specversion": "1.0", "id": uuid7(), **given, "data": msgspec.Raw(data)})


@dataclass(frozen=True, slots=True)
class Line:
    """One event to send.

    Attributes:
        number: its place in the source, from 1: the line, or the element of an array.
        text: its JSON on one line.
        bytes_read: bytes of the source that were read for it.
    """

    number: int
    text: bytes
    bytes_read: int


def read_events(stream: BinaryIO, wrap: Wrap | None = None) -> Iterator[Line]:
    """The events of a source: NDJSON, one JSON object, or an array of them.

    Args:
        stream: read to its end, a line at a time unless it is one JSON value over several lines.
        wrap: puts an event around whatever is not one (has no `specversion`).

    Raises:
        CommandError: `MalformedJson`, if it is none of these; lines that follow are not looked at here.
    """
    for line in _split(stream):
        yield (
            line if wrap is None or _is_event(line.text) else Line(line.number, wrap.around(line.text), line.bytes_read)
        )


def _split(stream: BinaryIO) -> Iterator[Line]:
    lines = enumerate(stream, start=1)
    start, first = next(((number, text) for number, line in lines if (text := line.strip(_SPACE_OR_BOM))), (0, b""))
    if not first:
        return
    if first.startswith(b"[") or not _is_json(first):
        yield from _elements(first + b"\n" + b"".join(line for _, line in lines))
        return
    for number, line in itertools.chain(((start, first),), lines):
        if text := line.strip():
            yield Line(number, text, len(line))


def _elements(whole: bytes) -> Iterator[Line]:
    try:
        value = msgspec.json.decode(whole, type=msgspec.Raw)
        elements = msgspec.json.decode(whole, type=list[msgspec.Raw]) if whole.startswith(b"[") else [value]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(
            ErrorCode.MALFORMED_JSON,
            f"The input is neither NDJSON nor JSON: {error}.",
            action="Give one JSON object a line, or one JSON object, or an array of objects.",
        ) from None
    share = len(whole) // max(1, len(elements))
    for number, element in enumerate(elements, start=1):
        # A pretty-printed event takes several lines; on the wire each takes one.
        text = bytes(element)
        yield Line(number, msgspec.json.format(text, indent=-1) if b"\n" in text else text, share)


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


class _Mark(msgspec.Struct):
    specversion: msgspec.Raw = msgspec.Raw(b"")


_decode_mark = msgspec.json.Decoder(_Mark)


def _is_event(text: bytes) -> bool:
    try:
        return bool(_decode_mark.decode(text).specversion)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
