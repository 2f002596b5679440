"""How records become a queue message and come back, byte for byte (design decision 2).

One record travels as plain JSON that any client of the engine can read; several are packed together
(MessagePack, zstd) so that the engine's cost per record falls with their number. A message of another
program that carries no `fluxa` mark is understood as one record whose body is that message.
"""

import base64
import datetime as dt
import hashlib

import msgspec
import zstandard

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backend import Defect, Envelope
from fluxa.queue.record import Failure, Record

VERSION = 1
_PACKING = "msgpack+zstd"
_UNPACKED_MAX_BYTES = 64 * 1024 * 1024

_pack = msgspec.msgpack.Encoder(order="deterministic")
_unpack = msgspec.msgpack.Decoder(list[Record])


class _Single(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The JSON form of a message with one record; `body` is text where the bytes are UTF-8.

    The digest covers every field, in the packed form: the engine may store JSON in a form of its own.
    """

    fluxa: int
    digest: str
    id: str
    created_at: dt.datetime
    body: str | None = None
    body_base64: bytes | None = None
    correlation_id: str = ""
    content_type: str = "application/json"
    key: str | None = None
    attempt: int = 0
    redrives: int = 0
    headers: dict[str, str] = {}
    failure: Failure | None = None


class _Packed(msgspec.Struct, kw_only=True):
    """The JSON form of a message with several records."""

    fluxa: int
    digest: str
    packing: str
    records: int
    packed: str


_decode_single = msgspec.json.Decoder(_Single)
_decode_packed = msgspec.json.Decoder(_Packed)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def encode(envelope: Envelope) -> str:
    """The message text of an envelope: JSON, safe for Postgres `jsonb` and for SQS.

    Raises:
        ValueError: if the envelope is empty, or packs more than 64 MiB: nobody could read it again.
    """
    if len(envelope.records) == 1:
        text = _encode_single(envelope.records[0])
        # Postgres refuses NUL in JSON text; outside the body (a header, an error's text) only packing carries it.
        if "\\u0000" not in text:
            return text
    if not envelope.records:
        raise ValueError("an envelope holds at least one record")
    plain = _pack.encode(envelope.records)
    if len(plain) > _UNPACKED_MAX_BYTES:
        raise ValueError(f"an envelope packs at most {_UNPACKED_MAX_BYTES} bytes, this one {len(plain)}")
    content = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)
    packed = _Packed(
        fluxa=VERSION,
        digest=_digest(content),
        packing=_PACKING,
        records=len(envelope.records),
        packed=base64.b64encode(content).decode(),
    )
    return json.text(packed)


def _encode_single(record: Record) -> str:
    text = _as_text(record.body)
    single = _Single(
        fluxa=VERSION,
        digest=_digest(_pack.encode(record)),
        id=record.id,
        created_at=record.created_at,
        body=text,
        body_base64=record.body if text is None else None,
        correlation_id=record.correlation_id,
        content_type=record.content_type,
        key=record.key,
        attempt=record.attempt,
        redrives=record.redrives,
        headers=record.headers,
        failure=record.failure,
    )
    return json.text(single)


def _as_text(body: bytes) -> str | None:
    """The body as text, or None where it is no UTF-8 or holds a NUL, which `jsonb` refuses."""
    if b"\x00" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def decode(raw: str, *, message_id: str, enqueued_at: dt.datetime) -> tuple[Record, ...] | Defect:
    """The records of a message, or why it cannot be read.

    Args:
        raw: the message's text as the engine holds it.
        message_id: names the record of another program's message.
        enqueued_at: when the engine took the message.
    """
    try:
        mark = _mark(raw)
        if mark is None:
            return (_foreign(raw, message_id, enqueued_at),)
        if mark.fluxa != VERSION:
            return Defect(ErrorCode.MALFORMED_MESSAGE, f"envelope version {mark.fluxa} is not known; update Fluxa")
        return (_decode_single_text(raw),) if mark.packing is None else _decode_packed_text(raw)
    except FluxaError as error:
        return Defect(error.code, error.detail)
    except (msgspec.MsgspecError, ValueError, RecursionError, zstandard.ZstdError) as error:
        return Defect(ErrorCode.MALFORMED_MESSAGE, str(error))


class _Mark(msgspec.Struct):
    fluxa: int | None = None
    packing: str | None = None


_decode_mark = msgspec.json.Decoder(_Mark | None)


def _mark(raw: str) -> _Mark | None:
    """The mark of a message of ours; None for anybody else's."""
    if '"fluxa"' not in raw or not raw.lstrip().startswith("{"):
        return None
    try:
        mark = _decode_mark.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        return None  # what is nested this deep, or names its version otherwise, is not from here
    return mark if mark and mark.fluxa is not None else None


def _foreign(raw: str, message_id: str, enqueued_at: dt.datetime) -> Record:
    return Record(id=f"message-{message_id}", body=raw.encode(), created_at=enqueued_at)


def _decode_single_text(raw: str) -> Record:
    single = _decode_single.decode(raw)
    body = single.body_base64 if single.body is None else single.body.encode()
    if body is None:
        raise FluxaError(ErrorCode.MALFORMED_MESSAGE, "the message has neither body nor body_base64")
    record = Record(
        id=single.id,
        body=body,
        created_at=single.created_at,
        correlation_id=single.correlation_id,
        content_type=single.content_type,
        key=single.key,
        attempt=single.attempt,
        redrives=single.redrives,
        headers=single.headers,
        failure=single.failure,
    )
    if _digest(_pack.encode(record)) != single.digest:
        raise FluxaError(ErrorCode.HASH_MISMATCH, "the record in the queue is not the one that was sent")
    return record


def _unbase64(text: str) -> bytes | None:
    """The bytes, or None where somebody changed the text so that it stands for none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _decode_packed_text(raw: str) -> tuple[Record, ...]:
    packed = _decode_packed.decode(raw)
    if packed.packing != _PACKING:
        raise FluxaError(ErrorCode.MALFORMED_MESSAGE, f"packing {packed.packing} is not known; update Fluxa")
    content = _unbase64(packed.packed)
    if content is None or _digest(content) != packed.digest:
        raise FluxaError(ErrorCode.HASH_MISMATCH, "the packed records in the queue are not the ones that were sent")
    if not 0 <= zstandard.frame_content_size(content) <= _UNPACKED_MAX_BYTES:
        raise FluxaError(ErrorCode.MALFORMED_MESSAGE, f"the message unpacks to more than {_UNPACKED_MAX_BYTES} bytes")
    records = tuple(_unpack.decode(zstandard.ZstdDecompressor().decompress(content)))
    if len(records) != packed.records:
        raise FluxaError(ErrorCode.HASH_MISMATCH, f"the message says {packed.records} records and has {len(records)}")
    return records
