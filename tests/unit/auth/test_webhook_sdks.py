"""Providers' own libraries and ours agree: what they sign we verify, and what we sign they verify."""

import base64
import datetime as dt
import hashlib
import hmac
import time

import pytest
import stripe
import svix
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from standardwebhooks import Webhook, WebhookVerificationError

from fluxa.auth.webhooks import Message, SchemeName, WebhookRefusedError, open_scheme
from making.callers.webhooks import BODY, DISCORD_KEY, NOW_S, SECRETS, STANDARD_KEY, WHSEC, as_sent, scheme

pytestmark = pytest.mark.req("STATION-auth")

AT = dt.datetime.fromtimestamp(NOW_S, dt.UTC)
STRIPE_SECRET = SECRETS["stripe"][1]


def test_stripe_signs_and_we_verify() -> None:
    header = stripe.WebhookSignature.generate_signature_header(BODY.decode(), STRIPE_SECRET, NOW_S)
    found = scheme("stripe").verify(Message([(b"stripe-signature", header.encode())], BODY), now_s=NOW_S)
    assert found.message_id == "evt_0001"


def test_we_sign_and_stripe_verifies() -> None:
    headers = scheme("stripe").sign(BODY, message_id="", now_s=time.time())
    signature = headers["Stripe-Signature"]
    assert stripe.WebhookSignature.verify_header(BODY.decode(), signature, STRIPE_SECRET, 300)
    event = stripe.Webhook.construct_event(b'{"object":"event",' + BODY[1:], *_resigned())
    assert event["id"] == "evt_0001"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(BODY.decode() + " ", signature, STRIPE_SECRET, 300)


def _resigned() -> tuple[str, str]:
    body = b'{"object":"event",' + BODY[1:]
    return scheme("stripe").sign(body, message_id="", now_s=time.time())["Stripe-Signature"], STRIPE_SECRET


def test_stripe_takes_a_time_far_ahead_and_we_do_not() -> None:
    ahead = int(time.time()) + 86400
    header = stripe.WebhookSignature.generate_signature_header(BODY.decode(), STRIPE_SECRET, ahead)
    assert stripe.WebhookSignature.verify_header(BODY.decode(), header, STRIPE_SECRET, 300)
    with pytest.raises(WebhookRefusedError):
        scheme("stripe").verify(Message([(b"stripe-signature", header.encode())], BODY), now_s=time.time())


@pytest.mark.parametrize(("family", "library"), [("webhook", Webhook), ("svix", svix.Webhook)])
def test_standard_webhooks_sign_and_we_verify(family: str, library: type[Webhook] | type[svix.Webhook]) -> None:
    signature = library(WHSEC).sign("msg_9", AT, BODY.decode())
    headers = {f"{family}-id": "msg_9", f"{family}-timestamp": str(NOW_S), f"{family}-signature": signature}
    for name in ("standard", "svix", "supabase"):
        found = scheme(name).verify(Message(as_sent(headers), BODY), now_s=NOW_S)
        assert (found.message_id, found.signed_at_s) == ("msg_9", NOW_S)


@pytest.mark.parametrize(("name", "library"), [("standard", Webhook), ("svix", svix.Webhook), ("supabase", Webhook)])
def test_we_sign_and_standard_webhooks_verify(name: str, library: type[Webhook] | type[svix.Webhook]) -> None:
    headers = dict(scheme(name).sign(BODY, message_id="msg_9", now_s=time.time()))
    library(WHSEC).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        library(WHSEC).verify(BODY + b" ", headers)


def test_a_part_without_a_comma_breaks_the_library_and_is_refused_here() -> None:
    headers = dict(scheme("standard").sign(BODY, message_id="msg_9", now_s=time.time()))
    headers["webhook-signature"] = "nocomma"
    with pytest.raises(ValueError, match="unpack"):
        Webhook(WHSEC).verify(BODY, headers)
    with pytest.raises(WebhookRefusedError):
        scheme("standard").verify(Message(as_sent(headers), BODY), now_s=time.time())


def test_nacl_signs_v1a_and_we_verify_and_the_other_way_round() -> None:
    public = "whpk_" + base64.b64encode(bytes(STANDARD_KEY.verify_key)).decode()
    content = f"msg_9.{NOW_S}.".encode() + BODY
    signature = "v1a," + base64.b64encode(STANDARD_KEY.sign(content).signature).decode()
    headers = {"webhook-id": "msg_9", "webhook-timestamp": str(NOW_S), "webhook-signature": signature}
    found = open_scheme(SchemeName.STANDARD, [public]).verify(Message(as_sent(headers), BODY), now_s=NOW_S)
    assert found.message_id == "msg_9"
    ours = scheme("standard v1a").sign(BODY, message_id="msg_9", now_s=NOW_S)
    raw = base64.b64decode(ours["webhook-signature"].removeprefix("v1a,"))
    STANDARD_KEY.verify_key.verify(content, raw)


def test_nacl_verifies_discords_interactions_as_its_guide_says_and_signs_them() -> None:
    ours = scheme("discord").sign(BODY, message_id="", now_s=NOW_S)
    key = VerifyKey(bytes(DISCORD_KEY.verify_key))
    raw = bytes.fromhex(ours["X-Signature-Ed25519"])
    key.verify(f"{ours['X-Signature-Timestamp']}{BODY.decode()}".encode(), raw)
    with pytest.raises(BadSignatureError):
        key.verify(BODY, raw)
    signature = DISCORD_KEY.sign(f"{NOW_S}".encode() + BODY).signature.hex()
    headers = {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": str(NOW_S)}
    public = bytes(DISCORD_KEY.verify_key).hex()
    found = open_scheme(SchemeName.DISCORD, [public]).verify(Message(as_sent(headers), BODY), now_s=NOW_S)
    assert found.message_id == "evt_0001"


def test_githubs_own_example_verifies() -> None:
    # From GitHub's page on validating deliveries.
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    github = open_scheme(SchemeName.GITHUB, [secret])
    assert github.verify(Message([(b"x-hub-signature-256", signature.encode())], body), now_s=NOW_S).place == 0
    assert github.sign(body, message_id="", now_s=0) == {"X-Hub-Signature-256": signature}


def test_vercel_signs_as_its_guide_says() -> None:
    signature = hmac.new(SECRETS["vercel"][1].encode(), BODY, hashlib.sha1).hexdigest()
    assert scheme("vercel").sign(BODY, message_id="", now_s=0) == {"x-vercel-signature": signature}
