"""Signatures of calls: what was signed is accepted, anything else is not, and nothing crashes the reader."""

import hashlib
import hmac

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fluxa.auth import hmac_signature
from fluxa.auth.hmac_signature import WINDOW_S, Signature
from fluxa.kernel.errors import FluxaError

SECRET = b"a secret of the right length"
OLDER = b"the secret that was used before"
NOW_S = 1_800_000_000
NONCE = "0123456789abcdefghij"

Headers = list[tuple[bytes, bytes]]


def _headers(**changes: object) -> Headers:
    values: dict[str, object] = {
        "timestamp_s": NOW_S,
        "nonce": NONCE,
        "method": "POST",
        "target": "/process-queues?budget_s=5",
        "body": b"{}",
    } | changes
    signed = hmac_signature.sign(SECRET, **values)  # type: ignore[arg-type]  # the test's own values
    return [(name.lower().encode(), value.encode()) for name, value in signed.items()]


def _signer(headers: Headers, *, secrets: tuple[bytes, ...] = (SECRET,), **changes: bytes) -> int | None:
    values = {"method": b"POST", "target": b"/process-queues?budget_s=5", "body": b"{}"} | changes
    return hmac_signature.read(headers).signer(
        secrets, method=values["method"], target=values["target"], body=values["body"]
    )


@pytest.mark.req("QUEUE-12")
def test_the_form_is_the_one_that_the_papers_describe() -> None:
    lines = ["v1", str(NOW_S), NONCE, "POST", "/process-queues?budget_s=5", hashlib.sha256(b"{}").hexdigest()]
    digest = hmac.new(SECRET, "\n".join(lines).encode(), "sha256").hexdigest()
    assert dict(_headers())[b"x-fluxa-signature"] == f"v1={digest}".encode()
    assert _signer(_headers()) == 0


@pytest.mark.req("QUEUE-12")
def test_while_secrets_are_rotated_both_are_accepted_and_the_place_is_told() -> None:
    assert _signer(_headers(), secrets=(OLDER, SECRET)) == 1
    assert _signer(_headers(), secrets=(OLDER,)) is None
    assert _signer(_headers(), secrets=()) is None


@given(
    method=st.sampled_from([b"POST", b"GET", b"post", b""]),
    target=st.binary(max_size=40) | st.just(b"/process-queues?budget_s=5"),
    body=st.binary(max_size=40) | st.just(b"{}"),
)
def test_another_request_is_not_the_one_that_was_signed(method: bytes, target: bytes, body: bytes) -> None:
    assume((method, target, body) != (b"POST", b"/process-queues?budget_s=5", b"{}"))
    assert _signer(_headers(), method=method, target=target, body=body) is None


@given(place=st.integers(0, 2), value=st.binary(max_size=140))
def test_a_changed_header_is_refused_and_never_crashes(place: int, value: bytes) -> None:
    headers = _headers()
    assume(headers[place][1] != value)
    headers[place] = (headers[place][0], value)
    refused = None
    try:
        assert _signer(headers) is None
    except FluxaError as error:
        refused = error
    assert refused is None or (refused.code == "Unauthenticated" and SECRET.decode() not in refused.detail)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_header_that_is_missing_or_repeated_is_refused(place: int) -> None:
    headers = _headers()
    for wrong in (headers[:place] + headers[place + 1 :], [*headers, headers[place]]):
        assert hmac_signature.is_signed(wrong)
        with pytest.raises(FluxaError, match="Unauthenticated"):
            hmac_signature.read(wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-fluxa-timestamp", "٠١٢".encode()),  # digits, but not ours
        (b"x-fluxa-timestamp", b"-1"),
        (b"x-fluxa-timestamp", b"1800000000.5"),
        (b"x-fluxa-timestamp", b"1800000000\n"),
        (b"x-fluxa-timestamp", b"9" * 13),
        (b"x-fluxa-nonce", b"short"),
        (b"x-fluxa-nonce", b"x" * 129),
        (b"x-fluxa-nonce", b"with\nline feed in it"),
        (b"x-fluxa-signature", b"v2=" + b"0" * 64),
        (b"x-fluxa-signature", b"v1=" + b"0" * 63),
        (b"x-fluxa-signature", b"v1=" + b"A" * 64),
        (b"x-fluxa-signature", b"v1=" + b"0" * 64 + b"\n"),
    ],
)
def test_a_header_of_another_form_is_refused(name: bytes, value: bytes) -> None:
    headers = [(known, value if known == name else found) for known, found in _headers()]
    with pytest.raises(FluxaError, match="not of its form"):
        hmac_signature.read(headers)


@pytest.mark.req("QUEUE-12")
@pytest.mark.parametrize("late_s", [-WINDOW_S, -1, 0, 1, WINDOW_S])
def test_within_the_window_a_timestamp_is_accepted(late_s: int) -> None:
    Signature(str(NOW_S).encode(), b"", b"").check_time(NOW_S + late_s)


@pytest.mark.req("QUEUE-12")
@pytest.mark.parametrize(
    ("late_s", "word"), [(WINDOW_S + 1, "behind"), (-WINDOW_S - 1, "ahead of"), (-(10**9), "ahead of")]
)
def test_outside_it_a_timestamp_is_refused_on_both_sides(late_s: int, word: str) -> None:
    with pytest.raises(FluxaError, match=word):
        Signature(str(NOW_S).encode(), b"", b"").check_time(NOW_S + late_s)


def test_one_header_is_enough_to_claim_a_signature() -> None:
    assert not hmac_signature.is_signed([(b"authorization", b"Bearer x")])
    assert hmac_signature.is_signed([(b"x-fluxa-nonce", b"")])
