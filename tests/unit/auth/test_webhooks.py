"""Each scheme accepts what its provider signs and nothing else, whatever else a request may hold."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxa.auth.webhooks import Message, SchemeName, Verified, WebhookRefusedError, open_scheme
from fluxa.auth.webhooks.template import HmacForm
from fluxa.kernel.errors import ErrorCode, FluxaError
from making.callers.webhooks import BODY, FORM, NOW_S, SECRETS, TIMED, WHSEC, names, scheme, signed, without

pytestmark = pytest.mark.req("STATION-auth")

EVERY = tuple(SECRETS)
VALUES = st.one_of(
    st.binary(max_size=200),
    st.text(string.printable, max_size=200).map(lambda text: text.encode()),
    st.sampled_from(
        [b"t=", b"t=1795330000,v1=", b"v1,", b"v1", b",", b"=", b"v1,====", b"sha256=", "ü".encode("latin-1")]
    ),
)


def _refused(name: str, message: Message, *, now_s: float = NOW_S) -> str:
    with pytest.raises(WebhookRefusedError) as caught:
        scheme(name).verify(message, now_s=now_s)
    assert caught.value.code == ErrorCode.UNAUTHENTICATED
    assert caught.value.detail == "The signature of this webhook is missing or not valid."
    for secret in SECRETS[name][1:]:
        assert secret not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("name", EVERY)
def test_what_is_signed_is_verified(name: str) -> None:
    found = scheme(name).verify(signed(name), now_s=NOW_S + 3)
    assert found.place == 0
    assert scheme(name).claims(signed(name))
    assert found.signed_at_s == (NOW_S if name in TIMED else None)
    assert (found.replay_key is None) == (name == "header")


@pytest.mark.parametrize("name", EVERY)
def test_another_body_or_secret_is_refused(name: str) -> None:
    message = signed(name)
    if name != "header":  # which proves who sent it, and not what
        _refused(name, Message(message.headers, message.body + b" "))
        _refused(name, Message(message.headers, b""))
    _refused(name, signed(name, place=1))


@pytest.mark.parametrize("name", EVERY)
def test_each_header_is_needed_and_may_be_there_once(name: str) -> None:
    message = signed(name)
    for header in names(message.headers):
        assert "missing" in _refused(name, without(message, header))
        assert "more than once" in _refused(name, Message([*message.headers, *message.headers], message.body))
        emptied = [(known, b"" if known == header else value) for known, value in message.headers]
        _refused(name, Message(emptied, message.body))


@pytest.mark.parametrize("name", TIMED)
def test_the_time_is_judged_to_both_sides(name: str) -> None:
    for late_s in (-300, 300):
        scheme(name).verify(signed(name), now_s=NOW_S + late_s)
    assert "behind" in _refused(name, signed(name), now_s=NOW_S + 301)
    assert "ahead of" in _refused(name, signed(name), now_s=NOW_S - 301)
    assert "ahead of" in _refused(name, signed(name), now_s=NOW_S - 86400)


@pytest.mark.parametrize("name", EVERY)
def test_while_a_secret_is_replaced_both_count(name: str) -> None:
    both = scheme(name, 1, 0)
    assert both.verify(signed(name, place=1), now_s=NOW_S).place == 0
    assert both.verify(signed(name), now_s=NOW_S).place == 1
    with pytest.raises(WebhookRefusedError):
        scheme(name, 1).verify(signed(name), now_s=NOW_S)


@pytest.mark.parametrize("name", TIMED)
def test_the_same_bytes_have_one_key_and_another_attempt_has_another(name: str) -> None:
    first = scheme(name).verify(signed(name), now_s=NOW_S)
    noisy = Message([*signed(name).headers, (b"x-other", b"1"), (b"x-github-delivery", b"2")], BODY)
    assert scheme(name).verify(noisy, now_s=NOW_S + 9) == first
    retry = scheme(name).verify(signed(name, at_s=NOW_S + 5), now_s=NOW_S + 9)
    assert retry.message_id == first.message_id
    assert retry.replay_key != first.replay_key


def test_the_message_id_is_signed() -> None:
    assert scheme("svix").verify(signed("svix"), now_s=NOW_S).message_id == "msg_1"
    assert scheme("stripe").verify(signed("stripe"), now_s=NOW_S).message_id == "evt_0001"
    github = signed("github", body=b"[]")
    with_delivery = Message([*github.headers, (b"x-github-delivery", b"anybody-can-write-this")], github.body)
    found = scheme("github").verify(with_delivery, now_s=NOW_S)
    assert found.message_id == found.replay_key


@pytest.mark.parametrize("family", ["webhook", "svix"])
def test_an_id_cannot_be_cut_elsewhere(family: str) -> None:
    headers = scheme("standard").sign(b"7.{}", message_id="msg_1", now_s=NOW_S)
    moved = [
        (f"{family}-id".encode(), f"msg_1.{NOW_S}".encode()),
        (f"{family}-timestamp".encode(), b"7"),
        (f"{family}-signature".encode(), headers["webhook-signature"].encode()),
    ]
    assert "separates" in _refused("standard", Message(moved, b"{}"), now_s=7)


def test_parts_of_unknown_form_are_passed_over_and_too_many_are_refused() -> None:
    message = signed("standard")
    [good] = [value for name, value in message.headers if name == b"webhook-signature"]

    def having(value: bytes) -> Message:
        return Message([*without(message, b"webhook-signature").headers, (b"webhook-signature", value)], BODY)

    for noise in (b"nocomma", b"v2,abc", b"v1,\xff", b"v1,a", b"v1a,QUJD", b"v1,"):
        assert scheme("standard").verify(having(noise + b" " + good), now_s=NOW_S).place == 0
        _refused("standard", having(noise))
    assert "too many" in _refused("standard", having(b" ".join([good] * 17)))


def test_kinds_of_signature_count_only_for_secrets_of_their_kind() -> None:
    mixed = open_scheme(SchemeName.STANDARD, [SECRETS["standard v1a"][1], WHSEC])
    assert mixed.verify(signed("standard"), now_s=NOW_S).place == 1
    assert mixed.verify(signed("standard v1a"), now_s=NOW_S).place == 0
    _refused("standard", signed("standard v1a"))
    _refused("standard v1a", signed("standard"))


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_hostile_headers_get_a_verdict_and_nothing_else(name: str, data: st.DataObject) -> None:
    known = names(signed(name).headers)
    chosen = st.one_of(st.sampled_from(known), st.binary(max_size=20))
    headers = data.draw(st.lists(st.tuples(chosen, VALUES), max_size=6))
    message = Message(headers, data.draw(st.binary(max_size=50)))
    with pytest.raises(WebhookRefusedError):
        scheme(name, 0, 1).verify(message, now_s=NOW_S)


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_right_webhook_with_one_part_exchanged_gets_a_verdict(name: str, data: st.DataObject) -> None:
    message = signed(name)
    place = data.draw(st.integers(0, len(message.headers) - 1))
    value = data.draw(VALUES)
    headers = [(known, value if at == place else old) for at, (known, old) in enumerate(message.headers)]
    try:
        found = scheme(name).verify(Message(headers, BODY), now_s=NOW_S)
    except WebhookRefusedError:
        return
    assert isinstance(found, Verified)
    assert value.strip(b" \t") == message.headers[place][1]


@given(body=st.binary(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_any_body_can_be_signed(body: bytes) -> None:
    for name in EVERY:
        found = scheme(name).verify(signed(name, body=body), now_s=NOW_S)
        assert 1 <= len(found.message_id) <= 255


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        (SchemeName.STRIPE, "short"),
        (SchemeName.STRIPE, "with a space in it, and long enough"),
        (SchemeName.STANDARD, "whsec_"),
        (SchemeName.STANDARD, "whsec_not base64 at all!"),
        (SchemeName.STANDARD, "whsec_c2hvcnQ="),
        (SchemeName.STANDARD, "whpk_c2hvcnQ="),
        (SchemeName.STANDARD, "whsk_c2hvcnQ="),
        (SchemeName.STANDARD, "other_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        (SchemeName.STANDARD, "whsec_ü"),
        (SchemeName.GITHUB, "short"),
        (SchemeName.DISCORD, "00"),
        (SchemeName.DISCORD, "zz" * 32),
        (SchemeName.HEADER, "short"),
        (SchemeName.HMAC, "short"),
    ],
)
def test_a_secret_of_another_form_is_refused_and_not_shown(name: SchemeName, secret: str) -> None:
    with pytest.raises(FluxaError) as caught:
        open_scheme(name, [secret])
    assert caught.value.code == ErrorCode.CONFIGURATION
    if len(secret) > 8:
        assert secret not in caught.value.detail


def test_no_secret_opens_nothing() -> None:
    for name in SchemeName:
        with pytest.raises(FluxaError, match="at least one secret"):
            open_scheme(name, [])


@pytest.mark.parametrize(
    "form",
    [
        HmacForm(template="{timestamp}"),
        HmacForm(template="{body}{body}"),
        HmacForm(template="{body}", timestamp_header="X-Time"),
        HmacForm(template="{timestamp}.{body}"),
        HmacForm(template="{body}", id_header="X-Id"),
    ],
)
def test_a_form_in_which_something_unsigned_counts_is_refused(form: HmacForm) -> None:
    with pytest.raises(FluxaError, match="cannot be used"):
        open_scheme(SchemeName.HMAC, ["a secret that is long enough"], form=form)


def test_only_who_has_the_private_part_can_sign() -> None:
    for name, key in ((SchemeName.DISCORD, "12" * 32), (SchemeName.STANDARD, "whpk_" + "A" * 43 + "=")):
        with pytest.raises(FluxaError, match="Only"):
            open_scheme(name, [key], form=FORM).sign(BODY, message_id="msg_1", now_s=NOW_S)
