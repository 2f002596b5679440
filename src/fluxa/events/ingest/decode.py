"""From a request's body to events: each one read, or refused with the reason. Not: headers (head), schemas, storage."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fluxa.events import carriage
from fluxa.events.event import Event, Extension, WireEvent, build, check_json, is_json, parse
from fluxa.events.ingest.head import Form, Head
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant

MIB = 1024 * 1024
_SMALL_BATCH_BYTES = 64 * 1024
_NO_ITEM = msgspec.Raw(b"")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the door lets in (PIPE-2).

    Attributes:
        event_bytes: the largest event.
        events: the most events of one request.
    """

    event_bytes: int = MIB
    events: int = 10_000


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A valid event and the JSON text that travels."""

    event: Event
    text: bytes


Decoded = Accepted | FluxaError
"""What became of one event; an error's pointer begins with the event's place in a batch."""

_items = msgspec.json.Decoder(list[msgspec.Raw])


def split(form: Form, body: bytes, limits: Limits) -> list[bytes]:
    """The texts of the events of a batch or of lines, not looked at yet.

    Raises:
        FluxaError: `MalformedJson`, `InvalidRequest` if there is none, `TooManyEvents`.
    """
    texts = _lines(body, limits) if form is Form.LINES else _elements(body, limits)
    if not texts:
        raise FluxaError(ErrorCode.INVALID_REQUEST, "The request holds no event; send at least one.")
    if len(texts) > limits.events:
        raise _too_many(limits)
    return texts


def _lines(body: bytes, limits: Limits) -> list[bytes]:
    # Counted first, blank ones included, so that ten million empty lines never become ten million objects.
    if body.count(b"\n") > limits.events:
        raise _too_many(limits)
    return [line for line in map(bytes.rstrip, body.split(b"\n")) if line]


def _elements(body: bytes, limits: Limits) -> list[bytes]:
    try:
        if len(body) <= _SMALL_BATCH_BYTES:
            return [bytes(item) for item in _items.decode(body)]
        found = msgspec.structs.astuple(_bounded_array(limits.events).decode(body))
    except msgspec.ValidationError as error:
        if "at most length" in str(error):
            raise _too_many(limits) from None
        raise FluxaError(ErrorCode.INVALID_REQUEST, "A batch is a JSON array of events.", pointer="") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FluxaError(ErrorCode.MALFORMED_JSON, str(error), pointer="") from None
    return [bytes(item) for item in found if item is not _NO_ITEM]


_arrays: dict[int, msgspec.json.Decoder[msgspec.Struct]] = {}


def _bounded_array(length: int) -> msgspec.json.Decoder[msgspec.Struct]:
    """A decoder that stops at the first element too many.

    One of lists decodes all of them before it looks at their number: ten MiB of zeros are five million objects.
    """
    if length not in _arrays:
        fields = [(f"item_{index}", msgspec.Raw, _NO_ITEM) for index in range(length)]
        array = msgspec.defstruct("BoundedArray", fields, array_like=True, forbid_unknown_fields=True, gc=False)
        _arrays[length] = msgspec.json.Decoder(array)
    return _arrays[length]


def _too_many(limits: Limits) -> FluxaError:
    return FluxaError(ErrorCode.TOO_MANY_EVENTS, f"The request holds more than {limits.events} events; split it.")


def read_one(
    text: bytes, *, tenant: Tenant, correlation_id: CorrelationId, now: dt.datetime, limits: Limits
) -> Accepted:
    """Read one event in the JSON format.

    Raises:
        FluxaError: `EventTooLarge`, `MalformedJson`, `InvalidEvent` or `HashMismatch`, with a pointer.
    """
    if len(text) > limits.event_bytes:
        raise _too_large(limits)
    return Accepted(parse(text, tenant=tenant, correlation_id=correlation_id, now=now), text)


def read_many(
    texts: Sequence[bytes],
    *,
    first: int,
    tenant: Tenant,
    correlation_id: CorrelationId,
    now: dt.datetime,
    limits: Limits,
) -> list[Decoded]:
    """Read events of a batch; `first` is the place of the first of them. Raises nothing."""
    decoded: list[Decoded] = []
    for index, text in enumerate(texts, first):
        try:
            if len(text) > limits.event_bytes:
                raise _too_large(limits)
            event = parse(text, tenant=tenant, correlation_id=correlation_id, now=now)
            decoded.append(Accepted(event, text))
        except FluxaError as error:
            decoded.append(at(index, error))
    return decoded


def at(index: int, error: FluxaError) -> FluxaError:
    """The same error, its pointer beginning at the event's place in the batch."""
    return FluxaError(error.code, error.detail, pointer=f"/{index}{error.pointer or ''}")


def _too_large(limits: Limits) -> FluxaError:
    return FluxaError(ErrorCode.EVENT_TOO_LARGE, f"The event is larger than {limits.event_bytes} bytes.", pointer="")


def read_binary(
    head: Head,
    body: bytes,
    *,
    tenant: Tenant,
    correlation_id: CorrelationId,
    now: dt.datetime,
    limits: Limits,
) -> Accepted:
    """Read one event whose attributes are headers and whose data is the body (CloudEvents HTTP binding, 3.1).

    Raises:
        FluxaError: `EventTooLarge`, `MalformedJson`, `InvalidEvent` or `HashMismatch`, with a pointer
            that names the attribute.
    """
    if len(body) > limits.event_bytes:
        raise _too_large(limits)
    attributes = _attributes(head)
    known: dict[str, Any] = {name: attributes.pop(name) for name in _HEADER_ATTRIBUTES if name in attributes}
    for name in ("specversion", "id", "source", "type"):
        if name not in known:
            raise _invalid(name, "is required: send it as a header, ce-" + name)
    wire = WireEvent(**known, datacontenttype=head.content_type)
    extensions: dict[str, Extension] = {**attributes}
    for name in ("traceparent", "tracestate", "correlationid", "partitionkey"):
        if name in known:
            extensions[name] = known[name]
    data = body or None
    if data is not None and is_json(head.content_type):
        _check_json_body(head, data)
    event = build(wire, extensions, data, tenant=tenant, correlation_id=correlation_id, now=now)
    return Accepted(event, carriage.to_text(event, with_data=True))


_HEADER_ATTRIBUTES = frozenset(WireEvent.__struct_fields__) - {"data", "data_base64", "datacontenttype"}
_NOT_FOR_HEADERS = frozenset({"data", "datacontenttype"})


def _check_json_body(head: Head, data: bytes) -> None:
    try:
        check_json(data)
    except FluxaError:
        if head.content_type is not None:
            raise
        raise _invalid("datacontenttype", "is needed for data that is not JSON: send Content-Type") from None


def _attributes(head: Head) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in head.attributes:
        if not name.isalnum() or not name.isascii() or len(name) > 64:  # noqa: PLR2004 - as in the JSON format
            raise _invalid(name[:64], "is not an attribute name: use a-z and 0-9")
        if name in _NOT_FOR_HEADERS:
            raise _invalid(name, "cannot be a header: the body is the data, Content-Type its type")
        if name in attributes:
            raise _invalid(name, "is sent twice")
        attributes[name] = _header_value(name, value)
    return attributes


def _header_value(name: str, value: bytes) -> str:
    """A header's text: the quoted form is unquoted, then percent sequences are decoded (binding 3.1.3.2)."""
    if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):  # noqa: PLR2004 - the two quotation marks
        value = _unquoted(value[1:-1])
    if not value.isascii():
        raise _invalid(name, "holds characters that a header cannot carry: percent-encode them")
    if b"%" not in value:
        return value.decode()
    try:
        return _percent_decoded(value).decode()
    except ValueError:
        raise _invalid(name, "is not valid percent-encoded UTF-8") from None


def _unquoted(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    parts = value.split(b"\\\\")
    return b"\\".join(part.replace(b"\\", b"") for part in parts)


def _percent_decoded(value: bytes) -> bytes:
    first, *parts = value.split(b"%")
    decoded = [first]
    for part in parts:
        if len(part) < 2 or not _is_hex(part[:2]):  # noqa: PLR2004 - two digits a byte
            raise ValueError("a percent sign needs two hexadecimal digits")
        decoded.append(bytes.fromhex(part[:2].decode()) + part[2:])
    return b"".join(decoded)


def _is_hex(text: bytes) -> bool:
    return all(digit in b"0123456789abcdefABCDEF" for digit in text)


def _invalid(name: str, problem: str) -> FluxaError:
    return FluxaError(ErrorCode.INVALID_EVENT, f"{name} {problem}", pointer=f"/{name}")
