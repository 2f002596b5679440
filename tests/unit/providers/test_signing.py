"""Signatures as any Standard Webhooks library makes them (QUEUE-13)."""

import base64
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from fluxa.providers.signing import key_of, message_id, signed

pytestmark = pytest.mark.req("QUEUE-13")

# The example of the specification's own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - it is public
KEY = key_of(SECRET)


def test_the_example_of_the_specification() -> None:
    headers = signed([KEY], message="msg_p5jXN8AQM9LWM0D4loKWxJek", at_s=1614265330, body=b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.text(max_size=200), st.text(max_size=50), st.integers(0, 4_000_000_000), st.binary(min_size=24, max_size=64))
def test_the_official_library_signs_the_same(body: str, name: str, at_s: int, key: bytes) -> None:
    message = message_id(name)
    official = Webhook("whsec_" + base64.b64encode(key).decode())
    expected = official.sign(message, dt.datetime.fromtimestamp(at_s, dt.UTC), body)
    headers = signed([key, KEY], message=message, at_s=at_s, body=body.encode())
    assert headers["webhook-signature"].split()[0] == expected


@given(st.text(max_size=300))
def test_an_id_on_the_wire_is_harmless_and_its_own(name: str) -> None:
    message = message_id(name)
    assert set(message) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert 0 < len(message) <= 128
    assert message_id(name + "x") != message
