"""What the headers say to the door: forms, digests, preferences."""

import base64
import hashlib
from typing import Any

import pytest

from fluxa.events.ingest.head import Form, Head, check_digest, read_head
from fluxa.kernel.errors import ErrorCode, FluxaError


def head(*headers: tuple[str, str]) -> Head:
    return read_head([(name.encode(), value.encode("latin-1")) for name, value in headers])


def refusal(call: Any, *args: Any) -> str:  # noqa: ANN401 - any reader
    with pytest.raises(FluxaError) as caught:
        call(*args)
    return caught.value.code


@pytest.mark.req("PIPE-1")
@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/cloudevents+json", Form.STRUCTURED),
        ("Application/CloudEvents+JSON; charset=UTF-8", Form.STRUCTURED),
        ("application/cloudevents-batch+json", Form.BATCH),
        ("application/x-ndjson", Form.LINES),
        ("application/jsonl;charset=utf-8", Form.LINES),
    ],
)
def test_the_media_type_names_the_form(content_type: str, form: Form) -> None:
    assert head(("content-type", content_type)).form is form


@pytest.mark.req("PIPE-1")
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "image/png", ""])
def test_ce_headers_make_it_binary_whatever_the_data_is(content_type: str) -> None:
    assert head(("content-type", content_type), ("ce-id", "1")).form is Form.BINARY
    assert head(("ce-id", "1")).form is Form.BINARY


@pytest.mark.req("PIPE-1")
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", "application/json"),),
        (("content-type", "application/cloudevents+avro"), ("ce-id", "1")),
        (("content-type", "application/cloudevents"), ("ce-id", "1")),
        (("content-type", "application/cloudevents+json; charset=latin-1"),),
    ],
)
def test_other_media_types_are_refused(headers: tuple[tuple[str, str], ...]) -> None:
    assert refusal(head, *headers) == ErrorCode.UNSUPPORTED_MEDIA_TYPE


def test_a_content_type_sent_twice_is_refused() -> None:
    twice = ("content-type", "application/jsonl")
    assert refusal(head, twice, twice) == ErrorCode.INVALID_REQUEST


def _stated(algorithm: str, body: bytes) -> str:
    digest = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


@pytest.mark.req("PIPE-3")
def test_a_content_digest_that_matches_is_taken() -> None:
    body = b"the body"
    check_digest(None, body)
    check_digest(_stated("sha-256", body), body)
    check_digest(_stated("sha-512", body) + ", md5=:AAAA:" + "," + _stated("sha-256", body) + ";x=1", body)
    sent = head(("content-type", "application/jsonl"), ("content-digest", "a=:AA==:"), ("content-digest", "b=:AA==:"))
    check_digest(sent.content_digest, body)


@pytest.mark.req("PIPE-3")
@pytest.mark.parametrize(
    ("stated", "code"),
    [
        (_stated("sha-256", b"another"), "HashMismatch"),
        (_stated("sha-256", b"the body") + "," + _stated("sha-512", b"another"), "HashMismatch"),
        ("sha-256=::", "HashMismatch"),
        ("sha-256=:A:", "InvalidRequest"),
        ("sha-256=abc", "InvalidRequest"),
        ("", "InvalidRequest"),
        ("sha-256=:AAAA:,", "HashMismatch"),
        ("nonsense", "InvalidRequest"),
    ],
)
def test_a_content_digest_that_does_not_match_is_refused(stated: str, code: str) -> None:
    assert refusal(check_digest, stated, b"the body") == code


@pytest.mark.parametrize(("prefer", "minimal"), [("return=minimal", True), ("Return = Minimal", True), ("x", False)])
def test_a_sender_can_ask_for_the_short_answer(prefer: str, minimal: bool) -> None:  # noqa: FBT001 - an expectation
    assert head(("content-type", "application/jsonl"), ("prefer", prefer)).minimal is minimal
