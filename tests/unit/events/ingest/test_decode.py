"""From bodies to events: the four forms and every mistake that can be made in them."""

import base64
import datetime as dt
import hashlib
import json
from typing import Any

import pytest

from fluxa.events import carriage
from fluxa.events.event import Event
from fluxa.events.ingest.decode import Accepted, Limits, read_binary, read_many, read_one, split
from fluxa.events.ingest.head import Form, Head, read_head
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant

NOW = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)
TENANT = Tenant("a")
CORRELATION = CorrelationId("c")
LIMITS = Limits(event_bytes=2000, events=5)
MINIMAL = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def one(text: bytes | dict[str, Any]) -> Accepted:
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return read_one(raw, tenant=TENANT, correlation_id=CORRELATION, now=NOW, limits=LIMITS)


def head(*headers: tuple[str, str]) -> Head:
    return read_head([(name.encode(), value.encode("latin-1")) for name, value in headers])


def binary(body: bytes, *headers: tuple[str, str], content_type: str | None = "application/json") -> Accepted:
    given = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    pairs = [(name, value) for name, value in given.items() if name not in {name for name, _ in headers}]
    if content_type is not None:
        pairs.append(("content-type", content_type))
    read = head(*pairs, *((name, value) for name, value in headers if value != "-"))
    return read_binary(read, body, tenant=TENANT, correlation_id=CORRELATION, now=NOW, limits=LIMITS)


def refusal(call: Any, *args: Any, **options: Any) -> tuple[str, str | None]:  # noqa: ANN401 - any reader
    with pytest.raises(FluxaError) as caught:
        call(*args, **options)
    return caught.value.code, caught.value.pointer


def again(accepted: Accepted) -> Event:
    """The event as the processor reads it from the record."""
    record = carriage.to_record(accepted.event, text=accepted.text, received_at=NOW)
    return carriage.from_record(record, default_tenant=Tenant("other"), now=NOW)


@pytest.mark.req("PIPE-1")
def test_the_text_of_a_structured_event_travels_as_it_came() -> None:
    text = b'{ "specversion" : "1.0",\n"id":"1","source":"/s","type":"t","data": {"b": 1.0 , "a":"\\u00e9"} }'
    accepted = one(text)
    assert accepted.text == text
    assert accepted.event.data == b'{"b": 1.0 , "a":"\\u00e9"}'
    assert again(accepted) == accepted.event


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"specversion": "0.3"}, "InvalidEvent", "/specversion"),
        ({"specversion": None}, "InvalidEvent", "/specversion"),
        ({"id": ""}, "InvalidEvent", "/id"),
        ({"id": None}, "InvalidEvent", "/id"),
        ({"id": 7}, "InvalidEvent", "/id"),
        ({"id": "x" * 1025}, "InvalidEvent", "/id"),
        ({"id": "a\u0000b"}, "InvalidEvent", "/id"),
        ({"source": "not a uri"}, "InvalidEvent", "/source"),
        ({"source": None}, "InvalidEvent", "/source"),
        ({"type": ["t"]}, "InvalidEvent", "/type"),
        ({"subject": ""}, "InvalidEvent", "/subject"),
        ({"subject": {"a": 1}}, "InvalidEvent", "/subject"),
        ({"time": "yesterday"}, "InvalidEvent", "/time"),
        ({"time": "2026-03-15T12:00:00"}, "InvalidEvent", "/time"),
        ({"time": "2026-03-15T12:05:01Z"}, "InvalidEvent", "/time"),
        ({"time": 1}, "InvalidEvent", "/time"),
        ({"data_base64": "!"}, "InvalidEvent", "/data_base64"),
        ({"data_base64": "e30=", "data": {}}, "InvalidEvent", "/data_base64"),
        ({"data_base64": "eyI="}, "MalformedJson", "/data"),
        ({"datacontenttype": "text/plain", "data": {}}, "InvalidEvent", "/data"),
        ({"Big": "x"}, "InvalidEvent", "/Big"),
        ({"a/b~": "x"}, "InvalidEvent", "/a~1b~0"),
        ({"x" * 65: "x"}, "InvalidEvent", "/" + "x" * 64),
        ({"ext": 1.5}, "InvalidEvent", "/ext"),
        ({"ext": 2**31}, "InvalidEvent", "/ext"),
        ({"ext": 10**30}, "InvalidEvent", "/ext"),
        ({"ext": {}}, "InvalidEvent", "/ext"),
        ({"sha256": "00"}, "HashMismatch", "/sha256"),
        ({f"e{i}": "x" for i in range(65)}, "InvalidEvent", ""),
        ({"data": "x" * 2000}, "EventTooLarge", ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_mistake_is_named_by_code_and_pointer(change: dict[str, Any], code: str, pointer: str) -> None:
    assert refusal(one, {**MINIMAL, **change}) == (code, pointer)


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("text", "code", "pointer"),
    [
        (b"", "MalformedJson", ""),
        (b"{", "MalformedJson", ""),
        (b"[]", "InvalidEvent", ""),
        (b"null", "InvalidEvent", ""),
        (b"{}", "InvalidEvent", "/specversion"),
        (b"\xef\xbb\xbf{}", "MalformedJson", ""),
        (b"\x00", "MalformedJson", ""),
        (b'{"id":NaN}', "MalformedJson", ""),
    ],
)
def test_what_is_no_event_is_refused(text: bytes, code: str, pointer: str) -> None:
    assert refusal(one, text) == (code, pointer)


@pytest.mark.req("PIPE-2")
def test_data_nested_too_deeply_is_refused() -> None:
    deep = json.dumps(MINIMAL).encode()[:-1] + b',"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    options = {"tenant": TENANT, "correlation_id": CORRELATION, "now": NOW, "limits": Limits()}
    assert refusal(read_one, deep, **options) == ("MalformedJson", "")


BASE = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"'


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("members", "name"),
    [
        (b',"id":"2"', "id"),
        (b', "id" : "2" ', "id"),
        (b',"\\u0069d":"2"', "id"),
        (b',"subject":null,"subject":"x"', "subject"),
        (b',"data":1,"data":2', "data"),
        (b',"data":"\\"","data":2', "data"),
        (b',"ext":"a","ext":"a"', "ext"),
        (b',"data_base64":"MQ==","data_base64":"MQ=="', "data_base64"),
        (b',"data":' + b"1" * 100 + b',"id":"1","subject":"\\"\\""', "id"),
    ],
)
def test_a_repeated_attribute_is_refused(members: bytes, name: str) -> None:
    assert refusal(one, BASE + members + b"}") == ("MalformedJson", f"/{name}")


@pytest.mark.parametrize(
    "members",
    [
        b',"subject":null',
        b',"subject":"a \\"quoted\\" name"',
        b',"data":{"a":1,"a":2}',
        b' , "data" : "\\"" , "ext" : "\\"" ',
        b',"data":{"id":"1","source":"x"}',
        b',"data_base64":null,"data":1',
    ],
)
def test_what_only_looks_like_a_repeated_attribute_is_not(members: bytes) -> None:
    assert one(BASE + members + b"}").event.id == "1"


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    "members",
    [b',"data":"\xff"', b',"subject":"\xff"', b',"ext":"\xff"', b',"data":"\\ud800"', b',"subject":"\\ud800"'],
)
def test_text_that_is_no_utf8_is_refused(members: bytes) -> None:
    assert refusal(one, BASE + members + b"}")[0] in {"MalformedJson", "InvalidEvent"}


@pytest.mark.req("PIPE-3")
@pytest.mark.parametrize("data", [b"{}", b'"\xc3\xa9"', b"[1.0,  2]"])
def test_a_producers_own_digest_is_over_the_bytes_of_the_data(data: bytes) -> None:
    digest = hashlib.sha256(data)
    for stated in (digest.hexdigest(), digest.hexdigest().upper(), base64.b64encode(digest.digest()).decode()):
        accepted = one(BASE + b',"data":' + data + b',"sha256":"' + stated.encode() + b'"}')
        assert accepted.event.sha256 == digest.digest()
        assert again(accepted).sha256 == digest.digest()


@pytest.mark.req("PIPE-1")
def test_a_batch_keeps_each_events_own_bytes() -> None:
    body = b'[ {"a": 1.0} ,\n{"b":"]"}, 3 ]'
    assert split(Form.BATCH, body, LIMITS) == [b'{"a": 1.0}', b'{"b":"]"}', b"3"]
    large = b"[" + b",".join([b'{"a":"' + b"x" * 40_000 + b'"}'] * 3) + b"]"
    assert [len(text) for text in split(Form.BATCH, large, LIMITS)] == [40_008] * 3


@pytest.mark.req("PIPE-1")
def test_lines_may_end_as_windows_ends_them_and_blank_ones_are_passed_over() -> None:
    assert split(Form.LINES, b'\n{"a":1}\r\n \n{"b":2}', LIMITS) == [b'{"a":1}', b'{"b":2}']


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("form", "body", "code"),
    [
        (Form.BATCH, b"[]", "InvalidRequest"),
        (Form.BATCH, b"{}", "InvalidRequest"),
        (Form.BATCH, b"[1,", "MalformedJson"),
        (Form.BATCH, b"", "MalformedJson"),
        (Form.BATCH, b"[\xff]", "MalformedJson"),
        (Form.BATCH, b"[1,2,3,4,5,6]", "TooManyEvents"),
        (Form.BATCH, b"[" + b"0," * 100_000 + b"0]", "TooManyEvents"),
        (Form.BATCH, b"{" + b" " * 100_000 + b"}", "InvalidRequest"),
        (Form.BATCH, b"[" + b" " * 100_000 + b"]", "InvalidRequest"),
        (Form.BATCH, b"[" * 100_000, "MalformedJson"),
        (Form.LINES, b"", "InvalidRequest"),
        (Form.LINES, b"\n\n", "InvalidRequest"),
        (Form.LINES, b"1\n2\n3\n4\n5\n6", "TooManyEvents"),
        (Form.LINES, b"\n" * 100, "TooManyEvents"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_batch_that_is_none_is_refused_whole(form: Form, body: bytes, code: str) -> None:
    assert refusal(split, form, body, LIMITS)[0] == code


@pytest.mark.req("PIPE-1", "PIPE-2")
def test_in_a_batch_each_event_has_its_own_answer_and_pointers_begin_with_its_place() -> None:
    texts = [json.dumps(item).encode() for item in (MINIMAL, {**MINIMAL, "time": "never"}, MINIMAL, 1)]
    decoded = read_many(
        [*texts, b"{", b"x" * 3000],
        first=3,
        tenant=TENANT,
        correlation_id=CORRELATION,
        now=NOW,
        limits=LIMITS,
    )
    told = [(item.code, item.pointer) if isinstance(item, FluxaError) else item.event.id for item in decoded]
    assert told == [
        "1",
        ("InvalidEvent", "/4/time"),
        "1",
        ("InvalidEvent", "/6"),
        ("MalformedJson", "/7"),
        ("EventTooLarge", "/8"),
    ]


@pytest.mark.req("PIPE-1")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": 1.0}', "application/json"),
        (b' {"a":1}\n', "application/json; charset=utf-8"),
        (b'{"a":1}', "application/vnd.x+json"),
        (b'{"a":1}', None),
        (b"plain text", "text/plain"),
        (b"\x00\xff\xfe", "application/octet-stream"),
        (b"", "application/json"),
        (b"null", "application/json"),
    ],
)
def test_binary_data_comes_through_the_queue_byte_for_byte(body: bytes, content_type: str | None) -> None:
    accepted = binary(body, content_type=content_type)
    assert accepted.event.data == (body or None)
    assert accepted.event.sha256 == hashlib.sha256(body).digest()
    assert again(accepted) == accepted.event


@pytest.mark.req("PIPE-1")
@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%65%6A", "ej"),
        ('"quoted \\"x\\" %20"', 'quoted "x"  '),
        ('"back\\\\slash"', "back\\slash"),
        ("100%25", "100%"),
        ('"', '"'),
    ],
)
def test_header_values_are_unquoted_and_percent_decoded(sent: str, meant: str) -> None:
    assert binary(b"1", ("ce-subject", sent)).event.subject == meant


@pytest.mark.req("PIPE-1")
def test_binary_attributes_become_the_events() -> None:
    accepted = binary(
        b"1",
        ("ce-time", "2026-03-15T11:00:00Z"),
        ("ce-custom", "x"),
        ("ce-traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
        ("ce-sha256", hashlib.sha256(b"1").hexdigest()),
    )
    assert accepted.event.extensions == {"custom": "x", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    assert accepted.event.correlation_id == "a" * 32
    assert accepted.event.time == dt.datetime(2026, 3, 15, 11, tzinfo=dt.UTC)
    assert again(accepted) == accepted.event


@pytest.mark.req("PIPE-1", "PIPE-2")
@pytest.mark.parametrize(
    ("body", "headers", "content_type", "expected"),
    [
        (b"1", [("ce-id", "-")], "application/json", ("InvalidEvent", "/id")),
        (b"1", [("ce-specversion", "-")], "application/json", ("InvalidEvent", "/specversion")),
        (b"1", [("ce-specversion", "2.0")], "application/json", ("InvalidEvent", "/specversion")),
        (b"1", [("ce-x_y", "1")], "application/json", ("InvalidEvent", "/x_y")),
        (b"1", [("ce-", "1")], "application/json", ("InvalidEvent", "/")),
        (b"1", [("ce-" + "x" * 65, "1")], "application/json", ("InvalidEvent", "/" + "x" * 64)),
        (b"1", [("ce-data", "1")], "application/json", ("InvalidEvent", "/data")),
        (b"1", [("ce-datacontenttype", "a/b")], "application/json", ("InvalidEvent", "/datacontenttype")),
        (b"1", [("ce-subject", "a"), ("ce-subject", "a")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-subject", "%zz")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-subject", "%2")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-subject", "%ff")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-subject", "%00")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-subject", "%+f")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-subject", "caf\xe9")], "application/json", ("InvalidEvent", "/subject")),
        (b"1", [("ce-sha256", "0" * 64)], "application/json", ("HashMismatch", "/sha256")),
        (b"{", [], "application/json", ("MalformedJson", "/data")),
        (b'"\xff"', [], "application/json", ("MalformedJson", "/data")),
        (b"\xff", [], None, ("InvalidEvent", "/datacontenttype")),
        (b"x" * 2001, [], "text/plain", ("EventTooLarge", "")),
        (b"1", [], "x" * 1025, ("InvalidEvent", "/datacontenttype")),
    ],
)
def test_every_mistake_in_binary_mode_is_named(
    body: bytes, headers: list[tuple[str, str]], content_type: str | None, expected: tuple[str, str]
) -> None:
    assert refusal(binary, body, *headers, content_type=content_type) == expected
