"""Stripe's `Stripe-Signature`: hexadecimal HMAC-SHA256 of the time, a dot and the body, with the secret as text."""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

from fluxa.auth.webhooks.message import (
    TOLERANCE_S,
    Message,
    Verified,
    WebhookRefusedError,
    id_in,
    place_of,
    replay_key,
    time_of,
    unusable,
)

HEADER: Final = b"stripe-signature"
_DIGEST = re.compile(rb"[0-9a-f]{64}\Z")
_SECRET = re.compile(r"[\x21-\x7e]{16,255}\Z")
_PARTS_MAX = 20


class Stripe:
    """A `Scheme`. Stripe signs each attempt anew, and with several secrets while one is rolled.

    Its own libraries refuse only what is too old; here a timestamp ahead of the clock is refused as well.

    Raises:
        FluxaError: `Configuration` for a secret that cannot be Stripe's.
    """

    def __init__(self, secrets: Sequence[str], *, tolerance_s: float = TOLERANCE_S) -> None:
        if not all(_SECRET.match(secret) for secret in secrets):
            raise unusable("stripe", "whsec_ and more, 16 to 255 visible characters")
        # Unlike elsewhere, whsec_ is part of the secret and what follows it is not decoded.
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._tolerance_s = tolerance_s

    def claims(self, message: Message) -> bool:
        """As `Scheme.claims`."""
        return message.has(HEADER)

    def verify(self, message: Message, *, now_s: float) -> Verified:
        """As `Scheme.verify`."""
        timestamp, given = _parts(message.only(HEADER))
        signed_at_s = time_of(timestamp, now_s=now_s, tolerance_s=self._tolerance_s)
        content = timestamp + b"." + message.body
        place = place_of([_signature(secret, content) for secret in self._secrets], given)
        key = replay_key(content)
        return Verified(id_in(message.body, otherwise=key), signed_at_s, key, place)

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:  # noqa: ARG002 - it is in the body
        """As `Scheme.sign`; the message id is the `id` in the body."""
        timestamp = str(int(now_s)).encode()
        signature = _signature(self._secrets[0], timestamp + b"." + body)
        return {"Stripe-Signature": f"t={timestamp.decode()},v1={signature.decode()}"}


def _signature(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, content, "sha256").hex().encode()


def _parts(header: bytes) -> tuple[bytes, list[bytes]]:
    """The time, and the signatures of the version that counts."""
    pairs = [part.partition(b"=") for part in header.split(b",")]
    if len(pairs) > _PARTS_MAX:
        raise WebhookRefusedError("the signature header has too many parts")
    times = [value for name, _, value in pairs if name.strip() == b"t"]
    given = [value for name, _, value in pairs if name.strip() == b"v1" and _DIGEST.match(value)]
    if len(times) != 1:
        raise WebhookRefusedError("the signature header has not one time")
    if not given:
        raise WebhookRefusedError("the signature header has no v1 signature")
    return times[0], given
