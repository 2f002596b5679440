"""Properties of the parser and of carriage: nothing crashes them, nothing is lost by them."""

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxa.events import carriage
from fluxa.events.ingest.decode import Accepted, Limits, read_binary, read_many, read_one, split
from fluxa.events.ingest.head import Form, check_digest, read_head
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import CorrelationId, Tenant
from fluxa.queue import envelope
from fluxa.queue.backend import Envelope
from fluxa.queue.record import Record

T = TypeVar("T")
NOW = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)
WHO: dict[str, Any] = {"tenant": Tenant("a"), "correlation_id": CorrelationId("c"), "now": NOW, "limits": Limits()}

# JSON and things near to it: valid documents, cut, joined and sprinkled with bytes.
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_ATTRIBUTES = st.sampled_from(
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64", "sha256", "x1"]
)
_LIKE_EVENTS = st.builds(
    lambda base, more: {**base, **more},
    st.just({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}),
    st.dictionaries(_ATTRIBUTES | st.text(max_size=6), _JSON, max_size=4),
).map(lambda event: json.dumps(event).encode())
_NEARLY = st.builds(lambda text, at, junk: text[:at] + junk + text[at:], _LIKE_EVENTS, st.integers(0, 200), st.binary())
_ANY = st.binary() | _LIKE_EVENTS | _NEARLY


def attempt(call: Callable[[], T]) -> T | FluxaError:
    """What the call returns or the error of ours that it raises; no other error is caught."""
    try:
        return call()
    except FluxaError as error:
        return error


@pytest.mark.req("PIPE-2")
@settings(max_examples=400, deadline=None)
@given(_ANY)
def test_any_bytes_are_an_event_or_an_error_of_ours(text: bytes) -> None:
    found = attempt(lambda: read_one(text, **WHO))
    if isinstance(found, FluxaError):
        assert found.pointer is not None
        assert found.spec.status < 500
    else:
        assert found.event.sha256 == hashlib.sha256(found.event.data or b"").digest()


@pytest.mark.req("PIPE-2")
@settings(max_examples=200, deadline=None)
@given(st.sampled_from([Form.BATCH, Form.LINES]), st.lists(_ANY, max_size=4), st.sampled_from([b",", b"\n", b""]))
def test_any_batch_gives_one_answer_for_each_event_or_an_error_of_ours(
    form: Form, texts: list[bytes], joint: bytes
) -> None:
    body = joint.join(texts)
    if form is Form.BATCH:
        body = b"[" + body + b"]"
    found = attempt(lambda: split(form, body, Limits()))
    if isinstance(found, FluxaError):
        assert found.spec.status < 500
    else:
        assert len(read_many(found, first=0, **WHO)) == len(found)


_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"ce-id", b"ce-source", b"ce-type", b"ce-specversion", b"ce-time", b"content-type", b"ce-x"])
        | st.binary(max_size=6).map(lambda name: b"ce-" + name),
        st.binary(max_size=12) | st.sampled_from([b"1.0", b"/s", b"application/json", b"%e2%82%ac", b'"a\\"']),
    ),
    max_size=8,
)


@pytest.mark.req("PIPE-2")
@settings(max_examples=300, deadline=None)
@given(_HEADERS, st.binary(max_size=40))
def test_any_headers_are_an_event_or_an_error_of_ours(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    head = attempt(lambda: read_head(headers))
    if isinstance(head, FluxaError):
        assert head.spec.status == 415 or head.code == "InvalidRequest"
    elif head.form is Form.BINARY:
        found = attempt(lambda: read_binary(head, body, **WHO))
        if isinstance(found, FluxaError):
            assert found.spec.status < 500
        else:
            assert found.event.data == (body or None)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.binary(max_size=20))
def test_any_content_digest_is_taken_passed_over_or_refused(stated: str, body: bytes) -> None:
    found = attempt(lambda: check_digest(stated, body))
    assert found is None or found.spec.status == 400


def _through_the_queue(accepted: Accepted, others: int) -> Record:
    """The record after it went through an envelope, alone or among others."""
    record = carriage.to_record(accepted.event, text=accepted.text, received_at=NOW)
    message = envelope.encode(Envelope((record,) * (others + 1)))
    found = envelope.decode(message, message_id="1", enqueued_at=NOW)
    assert isinstance(found, tuple)
    assert found == (record,) * (others + 1)
    return found[-1]


@pytest.mark.req("PIPE-3")
@settings(max_examples=200, deadline=None)
@given(_JSON, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]), st.booleans(), st.integers(0, 2))
def test_json_data_comes_through_queue_and_envelope_byte_for_byte(
    data: object,
    separators: tuple[str, str],
    ascii_only: bool,  # noqa: FBT001 - drawn by hypothesis
    others: int,
) -> None:
    raw = json.dumps(data, separators=separators, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    text = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data": ' + raw + b" }"
    try:
        accepted = read_one(text, **WHO)
    except FluxaError:
        return  # NaN, lone surrogates: not JSON
    assert accepted.event.data == raw
    again = carriage.from_record(_through_the_queue(accepted, others), default_tenant=Tenant("x"), now=NOW)
    assert again == accepted.event
    assert again.data == raw


@pytest.mark.req("PIPE-3")
@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from(["text/plain", "application/octet-stream", "application/xml"]),
    st.booleans(),
    st.integers(0, 2),
)
def test_other_data_comes_through_queue_and_envelope_byte_for_byte(
    data: bytes,
    kind: str,
    binary: bool,  # noqa: FBT001 - drawn by hypothesis
    others: int,
) -> None:
    if binary:
        names = (b"ce-specversion", b"ce-id", b"ce-source", b"ce-type", b"content-type")
        values = (b"1.0", b"1", b"/s", b"t", kind.encode())
        accepted = read_binary(read_head(list(zip(names, values, strict=True))), data, **WHO)
    else:
        event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": kind}
        accepted = read_one(json.dumps({**event, "data_base64": base64.b64encode(data).decode()}).encode(), **WHO)
    again = carriage.from_record(_through_the_queue(accepted, others), default_tenant=Tenant("x"), now=NOW)
    assert again == accepted.event
    assert (again.data or b"") == data
    assert again.sha256 == hashlib.sha256(data).digest()


@pytest.mark.req("PIPE-2")
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["id", "subject", "x1", "x2", "data"]), st.text(max_size=6) | st.none()), max_size=6
    ),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]),
    st.booleans(),
)
def test_names_that_repeat_are_refused_and_others_are_not(
    more: list[tuple[str, str | None]],
    separators: tuple[str, str],
    ascii_only: bool,  # noqa: FBT001 - drawn by name
) -> None:
    members = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t"), *more]
    comma, colon = separators
    text = comma.join(json.dumps(name) + colon + json.dumps(value, ensure_ascii=ascii_only) for name, value in members)
    names = [name for name, _ in members]
    repeats = len(set(names)) != len(names)
    found = attempt(lambda: read_one(("{" + text + "}").encode(), **WHO))
    assert (isinstance(found, FluxaError) and "more than once" in found.detail) == repeats
