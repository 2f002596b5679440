"""Discord's interactions: hexadecimal Ed25519 of the time and the body, with the application's key."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from fluxa.auth.webhooks.ed25519 import Ed25519Key, key_place
from fluxa.auth.webhooks.message import (
    TOLERANCE_S,
    Message,
    Verified,
    WebhookRefusedError,
    id_in,
    replay_key,
    time_of,
    unusable,
)
from fluxa.kernel.errors import ErrorCode, FluxaError

SIGNATURE: Final = b"x-signature-ed25519"
TIMESTAMP: Final = b"x-signature-timestamp"
_SIGNATURE = re.compile(rb"[0-9a-fA-F]{128}\Z")
_KEY = re.compile(r"(seed:)?([0-9a-fA-F]{64})\Z")


class Discord:
    """A `Scheme`.

    Args of the constructor: `secrets` are the application's public keys in hexadecimal; to sign in tests, `seed:` and
    the private one.

    Raises:
        FluxaError: `Configuration` for a key that is not of its form.
    """

    def __init__(self, secrets: Sequence[str], *, tolerance_s: float = TOLERANCE_S) -> None:
        self._keys = tuple(_key(secret) for secret in secrets)
        self._tolerance_s = tolerance_s

    def claims(self, message: Message) -> bool:
        """As `Scheme.claims`."""
        return message.has(SIGNATURE)

    def verify(self, message: Message, *, now_s: float) -> Verified:
        """As `Scheme.verify`."""
        signature = message.only(SIGNATURE)
        if not _SIGNATURE.match(signature):
            raise WebhookRefusedError("the signature is not 128 hexadecimal digits")
        timestamp = message.only(TIMESTAMP)
        signed_at_s = time_of(timestamp, now_s=now_s, tolerance_s=self._tolerance_s)
        content = timestamp + message.body
        place = key_place(self._keys, [bytes.fromhex(signature.decode())], content)
        key = replay_key(content)
        return Verified(id_in(message.body, otherwise=key), signed_at_s, key, place)

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:  # noqa: ARG002 - it is in the body
        """As `Scheme.sign`; the message id is the `id` in the body."""
        timestamp, private = str(int(now_s)), self._keys[0].private
        if private is None:
            raise FluxaError(ErrorCode.CONFIGURATION, "Only Discord can sign: this is the application's public key.")
        signature = private.sign(timestamp.encode() + body).hex()
        return {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": timestamp}


def _key(secret: str) -> Ed25519Key:
    match = _KEY.match(secret)
    try:
        if match is None:
            raise ValueError("not of the form")  # noqa: TRY301 - told like what the key itself refuses
        raw = bytes.fromhex(match[2])
        return Ed25519Key.of_private(raw) if match[1] else Ed25519Key.of_public(raw)
    except ValueError:
        raise unusable("discord", "the application's public key, 64 hexadecimal digits") from None
