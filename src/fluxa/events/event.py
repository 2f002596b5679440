"""The CloudEvent as the door reads it and as the processor reads it again: one parser for both.

The bytes of an event travel as they were received; only facts about them (tenant, digest, arrival)
are added beside them. Source: CloudEvents 1.0.2, JSON event format.
"""

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
from typing import Any

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant, trace_id

ATTRIBUTE_MAX_BYTES = 1024
"""Longest attribute value: what a Postgres index entry over three of them can hold."""
EXTENSIONS_MAX = 64
"""Most extension attributes of one event."""
FUTURE_MAX = dt.timedelta(minutes=5)
"""How far ahead of our clock a producer's clock may be (PIPE-2)."""

_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
# What CloudEvents forbids in a String: control characters, surrogates, non-characters.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_NOT_IN_URI = re.compile(r'[ "<>\\^`{|}]')
_NOT_IN_A_URI = re.compile(r'[ "<>\\^`{|}]')
_JSON_TYPE = re.compile(r"(?:application|text)/json\b|[^;]*\+json\b", re.IGNORECASE)
_JSON = "application/json"
_NO_DATA = msgspec.Raw(b"")

Extension = str | int | bool
"""An extension attribute's value (CloudEvents type system, JSON form)."""


class WireEvent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The JSON form with the attributes that nearly all events have; others take the slower path."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    correlationid: str | None = None
    partitionkey: str | None = None
    sha256: str | None = None
    data: msgspec.Raw = _NO_DATA
    data_base64: str | None = None


_KNOWN = frozenset(WireEvent.__struct_fields__)
_STRINGS = len(_KNOWN) - 1  # all members but `data`
_decode_wire = msgspec.json.Decoder(WireEvent)
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode_value = msgspec.json.Decoder(str | int | bool | None)
_decode_string = msgspec.json.Decoder(str)


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A valid event.

    Attributes:
        tenant: whose it is.
        id: the producer's id; unique within (tenant, source).
        source: where it comes from, a URI reference.
        type: what kind of thing happened.
        subject: what it happened to.
        time: when it happened; None if the producer did not say.
        datacontenttype: media type of the data; None means JSON.
        dataschema: the producer's pointer to a schema.
        extensions: further attributes.
        correlation_id: the story it belongs to.
        data: the data's bytes as received; None if there are none.
        sha256: digest of `data` (of no bytes if there are none).
    """

    tenant: Tenant
    id: str
    source: str
    type: str
    subject: str | None
    time: dt.datetime | None
    datacontenttype: str | None
    dataschema: str | None
    extensions: dict[str, Extension]
    correlation_id: CorrelationId
    data: bytes | None
    sha256: bytes


def is_json(datacontenttype: str | None) -> bool:
    """Whether data of this media type is JSON; data without one is."""
    return datacontenttype is None or datacontenttype == _JSON or _JSON_TYPE.match(datacontenttype) is not None


def parse(text: bytes, *, tenant: Tenant, correlation_id: CorrelationId, now: dt.datetime, seen: bool = False) -> Event:
    """Read and check one event in the JSON format.

    Args:
        text: UTF-8 JSON as received.
        tenant: whose it is.
        correlation_id: used when the event itself names no trace.
        now: the time against which the event's own is checked.
        seen: whether the door read it before; repeated names are not looked for again.

    Raises:
        FluxaError: `MalformedJson`, `InvalidEvent` or `HashMismatch`, with a pointer.
    """
    extensions: dict[str, Extension] = {}
    try:
        wire = _decode_wire.decode(text)
    except msgspec.ValidationError:
        wire = _decode_slowly(text, extensions)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FluxaError(ErrorCode.MALFORMED_JSON, str(error), pointer="") from None
    else:
        if not seen and not _names_stand_once(text, wire, bytes(wire.data)):
            _refuse_repeated_names(text, _decode_members.decode(text))
    if wire.traceparent is not None:
        extensions["traceparent"] = wire.traceparent
    if wire.tracestate is not None:
        extensions["tracestate"] = wire.tracestate
    if wire.correlationid is not None:
        extensions["correlationid"] = wire.correlationid
    if wire.partitionkey is not None:
        extensions["partitionkey"] = wire.partitionkey
    data = _data(wire)
    return build(wire, extensions, data, tenant=tenant, correlation_id=correlation_id, now=now)


def build(
    wire: WireEvent,
    extensions: dict[str, Extension],
    data: bytes | None,
    *,
    tenant: Tenant,
    correlation_id: CorrelationId,
    now: dt.datetime,
) -> Event:
    """Check the attributes and make the event; binary mode comes in here, with its own `data`.

    Raises:
        FluxaError: `InvalidEvent` or `HashMismatch`, with a pointer.
    """
    if wire.specversion != "1.0":
        raise _invalid("specversion", "must be 1.0")
    if not _is_plain(wire):
        _check_attributes(wire)
    if _NOT_IN_URI.search(wire.source):
        raise _invalid("source", "must be a URI reference")
    if len(extensions) > EXTENSIONS_MAX:
        raise _invalid("", f"has more than {EXTENSIONS_MAX} extension attributes")
    for name, extension in extensions.items():
        if isinstance(extension, str):
            check_attribute(name, extension, empty=True)
    digest = hashlib.sha256(data or b"", usedforsecurity=False).digest()  # some builds look up policies otherwise
    if wire.sha256 is not None and not _same_digest(wire.sha256, digest):
        raise FluxaError(ErrorCode.HASH_MISMATCH, "sha256 is not the digest of the data received", pointer="/sha256")
    return Event(
        tenant=tenant,
        id=wire.id,
        source=wire.source,
        type=wire.type,
        subject=wire.subject,
        time=None if wire.time is None else _time(wire.time, now),
        datacontenttype=wire.datacontenttype,
        dataschema=wire.dataschema,
        extensions=extensions,
        correlation_id=_correlation(wire, correlation_id),
        data=data,
        sha256=digest,
    )


def _is_plain(wire: WireEvent) -> bool:
    """Whether one look at all attributes together shows that each is good: nearly always."""
    text = f"{wire.id}{wire.source}{wire.type}{wire.subject}{wire.datacontenttype}{wire.dataschema}"
    return (
        len(text) <= ATTRIBUTE_MAX_BYTES
        and text.isascii()
        and text.isprintable()
        and "" not in (wire.id, wire.source, wire.type, wire.subject, wire.datacontenttype, wire.dataschema)
    )


def _check_attributes(wire: WireEvent) -> None:
    check_attribute("id", wire.id)
    check_attribute("source", wire.source)
    check_attribute("type", wire.type)
    for name in ("subject", "datacontenttype", "dataschema"):
        value = getattr(wire, name)
        if value is not None:
            check_attribute(name, value)


def _invalid(name: str, problem: str) -> FluxaError:
    pointer = f"/{name}" if name else ""
    return FluxaError(ErrorCode.INVALID_EVENT, f"{name or 'the event'} {problem}", pointer=pointer)


def _names_stand_once(text: bytes, wire: WireEvent, raw: bytes) -> bool:
    """Whether the quotation marks in the text are just those of the members that were decoded.

    A repeated name adds at least two, so True is certain. Nulls and escaped marks also make it False.
    """
    marks = 4 * (_STRINGS - msgspec.structs.astuple(wire).count(None))
    if not raw:
        return text.count(b'"') == marks
    if text.endswith(raw, 0, len(text) - 1):  # the data comes last and only a brace after it: count before it
        return text.count(b'"', 0, len(text) - 1 - len(raw)) == marks + 2
    return text.count(b'"') == marks + 2 + raw.count(b'"')


def _refuse_repeated_names(text: bytes, members: dict[str, msgspec.Raw]) -> None:
    """JSON readers differ in which of two members they take, so an event that has both is refused.

    A name that itself holds a quotation mark is no attribute name and is refused elsewhere.
    """
    if text.count(b'"') == sum(2 + bytes(raw).count(b'"') for raw in members.values()):
        return
    if any('"' in name for name in members):
        return
    try:  # only to name it: the hook sees the outermost object last, so its answer is the one that stays
        twice = json.loads(text, object_pairs_hook=_repeated_name)
    except (ValueError, RecursionError):
        twice = None
    if twice is None:
        raise FluxaError(ErrorCode.MALFORMED_JSON, "the event has a name more than once", pointer="")
    raise FluxaError(
        ErrorCode.MALFORMED_JSON, f"the event has {twice[:64]} more than once", pointer=f"/{_escaped(twice)}"
    )


def _repeated_name(pairs: list[tuple[str, object]]) -> str | None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    return None


def _escaped(name: str) -> str:
    """A name as a JSON Pointer writes it."""
    return name[:64].replace("~", "~0").replace("/", "~1")


def _decode_slowly(text: bytes, extensions: dict[str, Extension]) -> WireEvent:
    """Read an event with extension attributes, nulls or mistakes; says which attribute is wrong."""
    try:
        members = _decode_members.decode(text)
    except msgspec.ValidationError:
        raise FluxaError(ErrorCode.INVALID_EVENT, "an event is a JSON object", pointer="") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FluxaError(ErrorCode.MALFORMED_JSON, str(error), pointer="") from None
    _refuse_repeated_names(text, members)
    known: dict[str, Any] = {}
    for name, raw in members.items():
        if name == "data":
            known[name] = raw
            continue
        value = _attribute(name, raw)
        if value is None:
            continue
        if name not in _KNOWN:
            extensions[name] = value
        elif isinstance(value, str):
            known[name] = value
        else:
            raise _invalid(name, "must be a string")
    for name in ("specversion", "id", "source", "type"):
        if name not in known:
            raise _invalid(name, "is required")
    return WireEvent(**known)


def _attribute(name: str, raw: msgspec.Raw) -> Extension | None:
    if name != "data_base64" and not _NAME.match(name):
        raise FluxaError(
            ErrorCode.INVALID_EVENT,
            f"{name[:64]!r} is not an attribute name: use a-z and 0-9",
            pointer=f"/{_escaped(name)}",
        )
    try:
        value: Extension | None = _decode_value.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _invalid(name, "must be a string, an integer or a boolean") from None
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**31:
        raise _invalid(name, "must be a 32-bit integer")
    return value


def _data(wire: WireEvent) -> bytes | None:
    """The bytes of the data member that stand for the data, as received."""
    raw = bytes(wire.data)
    if wire.data_base64 is not None:
        if raw:
            raise _invalid("data_base64", "cannot stand beside data")
        try:
            data = base64.b64decode(wire.data_base64, validate=True)
        except (binascii.Error, ValueError):
            raise _invalid("data_base64", "is not base64") from None
        if is_json(wire.datacontenttype):
            check_json(data)
        return data
    if not raw:
        return None
    if is_json(wire.datacontenttype):
        return _checked_utf8(raw)
    try:
        return _decode_string.decode(raw).encode()
    except (msgspec.DecodeError, UnicodeError):
        raise _invalid("data", "must be a string where datacontenttype is not JSON") from None


def check_json(data: bytes) -> None:
    """Refuse data that is called JSON but is not.

    Raises:
        FluxaError: `MalformedJson`.
    """
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
        data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FluxaError(ErrorCode.MALFORMED_JSON, f"data is not JSON: {error}", pointer="/data") from None


def _checked_utf8(raw: bytes) -> bytes:
    """The JSON reader skips over strings it need not decode, so their encoding is checked here."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise FluxaError(ErrorCode.MALFORMED_JSON, f"data is not UTF-8: {error}", pointer="/data") from None
    return raw


def check_attribute(name: str, value: str, *, empty: bool = False) -> None:
    """Check the value of an attribute that is a CloudEvents String.

    Raises:
        FluxaError: `InvalidEvent`, the pointer naming the attribute.
    """
    if value.isascii() and value.isprintable() and 0 < len(value) <= ATTRIBUTE_MAX_BYTES:
        return  # nearly all attributes of nearly all events
    if not value and not empty:
        raise _invalid(name, "must not be empty")
    size = len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    if size > ATTRIBUTE_MAX_BYTES:
        raise _invalid(name, f"is longer than {ATTRIBUTE_MAX_BYTES} bytes")
    if not value.isprintable() and _FORBIDDEN.search(value):
        raise _invalid(name, "holds a control character")


def _time(text: str, now: dt.datetime) -> dt.datetime:
    try:
        value: dt.datetime = msgspec.convert(text, dt.datetime)
    except msgspec.ValidationError:
        raise _invalid("time", "must be an RFC 3339 date and time") from None
    if value.tzinfo is None:
        raise _invalid("time", "must have a time zone (RFC 3339)")
    try:
        if value > now + FUTURE_MAX:
            raise _invalid("time", "is more than 5 minutes in the future")
        return value.astimezone(dt.UTC)
    except OverflowError:
        raise _invalid("time", "is out of range") from None


def _same_digest(claimed: str, digest: bytes) -> bool:
    """A public checksum, not a secret: hexadecimal in either case, or base64."""
    return claimed.lower() == digest.hex() or claimed == base64.b64encode(digest).decode()


def _correlation(wire: WireEvent, fallback: CorrelationId) -> CorrelationId:
    if found := trace_id(wire.traceparent):
        return found
    if wire.correlationid is not None and wire.correlationid.isascii() and 0 < len(wire.correlationid) <= 128:  # noqa: PLR2004
        return CorrelationId(wire.correlationid)
    return fallback
