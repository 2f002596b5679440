"""Envelopes: what goes in comes out byte for byte, and nothing altered passes as ours."""

import base64
import datetime as dt
import hashlib
import json
import random

import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import Defect, Envelope
from fluxa.queue.envelope import decode, encode
from fluxa.queue.record import Failure, Record

_NOW = dt.datetime(2026, 1, 1, 12, 30, 0, 5, tzinfo=dt.UTC)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TIMES = st.datetimes(min_value=dt.datetime(1970, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis adds the zone
_FAILURES = st.builds(Failure, code=_TEXT, detail=_TEXT, first_at=_TIMES, last_at=_TIMES)
_RECORDS = st.builds(
    Record,
    id=_TEXT,
    body=st.binary(max_size=60) | _TEXT.map(str.encode),
    created_at=_TIMES,
    correlation_id=_TEXT,
    content_type=_TEXT,
    key=st.none() | _TEXT,
    attempt=st.integers(0, 2**31),
    redrives=st.integers(0, 2**31),
    headers=st.dictionaries(_TEXT, _TEXT, max_size=4),
    failure=st.none() | _FAILURES,
)


def _read(text: str) -> tuple[Record, ...] | Defect:
    return decode(text, message_id="7", enqueued_at=_NOW)


def _as_jsonb(text: str) -> str:
    """Another spelling of the same JSON: members in another order, with spaces, nothing escaped."""
    return json.dumps(dict(sorted(json.loads(text).items(), key=lambda item: len(item[0]))), ensure_ascii=False)


def _record(name: str = "a", body: bytes = b'{"price": 10}') -> Record:
    return Record(id=name, body=body, created_at=_NOW, headers={"tenant": "acme", "b": "c"}, key="k")


@pytest.mark.req("QUEUE-1", "PIPE-3")
@given(records=st.lists(_RECORDS, min_size=1, max_size=4))
@example(records=[_record(body=b"\x00")])
@example(records=[Record(id="nul \x00 outside", body=b"{}", created_at=_NOW)])
@example(records=[_record(body='"\\u0000 \u2028"'.encode())])
def test_records_survive_the_way_through_any_json_store(records: list[Record]) -> None:
    text = encode(Envelope(tuple(records)))
    assert "\\u0000" not in json.dumps(json.loads(text)).replace("\\\\", "")
    assert _read(text) == tuple(records)
    assert _read(_as_jsonb(text)) == tuple(records)


@pytest.mark.req("QUEUE-1")
def test_an_envelope_of_one_is_json_that_anybody_can_read() -> None:
    message = json.loads(encode(Envelope((_record(),))))
    assert message["body"] == '{"price": 10}'
    assert (message["id"], message["headers"]) == ("a", {"tenant": "acme", "b": "c"})


def test_an_envelope_of_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        encode(Envelope(()))


def test_an_envelope_that_could_not_be_read_again_is_not_made() -> None:
    large = _record(body=bytes(33 * 1024 * 1024))
    with pytest.raises(ValueError, match="at most"):
        encode(Envelope((large, large)))


@pytest.mark.req("PIPE-3")
@pytest.mark.parametrize("records", [(_record(),), (_record(body=b"\xff\x00"),), (_record("a"), _record("b"))])
def test_no_altered_character_yields_another_record_of_ours(records: tuple[Record, ...]) -> None:
    text = encode(Envelope(records))
    chance = random.Random(5)  # noqa: S311 - a fixed choice of characters
    for position in range(len(text)):
        for new in {chance.choice('0a"{}:,\\ Z9'), chr(ord(text[position]) ^ 1)} - {text[position]}:
            altered = text[:position] + new + text[position + 1 :]
            content = _read(altered)
            if isinstance(content, tuple) and content != records:
                assert [record.id for record in content] == ["message-7"], altered


@pytest.mark.req("PIPE-3")
@given(field=st.sampled_from(["id", "body", "created_at", "key", "headers", "attempt"]), value=_TEXT)
def test_an_altered_field_is_a_defect(field: str, value: str) -> None:
    message = json.loads(encode(Envelope((_record(),))))
    new = {"headers": {"tenant": value}, "attempt": len(value) + 1, "created_at": "2026-01-01T12:30:00Z"}
    content = _read(json.dumps({**message, field: new.get(field, value + "!")}))
    assert isinstance(content, Defect)
    assert content.code == ErrorCode.HASH_MISMATCH


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', "[1]", '"text"', "null", "7", '{"fluxa": "their word"}', '{"fluxa": null}', "[" * 5000 + "]" * 5000],
)
@pytest.mark.req("QUEUE-1")
def test_messages_of_other_programs_are_one_record_each(text: str) -> None:
    assert _read(text) == (Record(id="message-7", body=text.encode(), created_at=_NOW),)


def _packed(content: bytes, **changes: object) -> str:
    message = {
        "fluxa": 1,
        "digest": hashlib.sha256(content).hexdigest(),
        "packing": "msgpack+zstd",
        "records": 2,
        "packed": base64.b64encode(content).decode(),
    }
    return json.dumps(message | changes)


_BOMB = zstandard.ZstdCompressor().compress(bytes(80 * 1024 * 1024))
_STREAM = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"fluxa": 2}', "MalformedMessage"),
        ('{"fluxa": 1}', "MalformedMessage"),
        ('{"fluxa": 1, "digest": "", "id": "a", "created_at": "2026-01-01T00:00:00Z"}', "MalformedMessage"),
        (_packed(b"", packing="rot13"), "MalformedMessage"),
        (_packed(b"no zstd"), "MalformedMessage"),
        (_packed(_STREAM), "MalformedMessage"),
        (_packed(_BOMB), "MalformedMessage"),
        (_packed(b"", packed="?"), "HashMismatch"),
        (_packed(zstandard.compress(b"no msgpack")), "MalformedMessage"),
        (_packed(zstandard.compress(msgspec.msgpack.encode([_record()]))), "HashMismatch"),
        (_packed(zstandard.compress(b"x"), digest="0" * 64), "HashMismatch"),
    ],
)
@pytest.mark.req("PIPE-3", "PIPE-9")
def test_what_bears_our_mark_and_cannot_be_read_is_a_defect(text: str, code: str) -> None:
    content = _read(text)
    assert isinstance(content, Defect)
    assert content.code == code
    assert content.detail
