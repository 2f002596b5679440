"""Supabase's database webhooks and whoever else sends a fixed header: it proves who sent, and not what."""

import hashlib
from collections.abc import Mapping, Sequence

from fluxa.auth.webhooks.message import Message, Verified, id_in, place_of, replay_key, unusable

_SECRET_MIN = 16


class SharedHeader:
    """A `Scheme`. Nothing is signed, so a replay cannot be told from an event that happened twice: use TLS.

    Raises:
        FluxaError: `Configuration` for a secret that could be guessed.
    """

    def __init__(self, secrets: Sequence[str], *, header: str) -> None:
        if not all(len(secret) >= _SECRET_MIN for secret in secrets):
            raise unusable("header", f"at least {_SECRET_MIN} characters")
        self._header = header
        self._secrets = tuple(secret.encode() for secret in secrets)

    def claims(self, message: Message) -> bool:
        """As `Scheme.claims`."""
        return message.has(self._header.lower().encode())

    def verify(self, message: Message, *, now_s: float) -> Verified:  # noqa: ARG002 - no time is signed
        """As `Scheme.verify`."""
        value = message.only(self._header.lower().encode())
        # Digests have one length, so the time taken does not tell the secret's.
        place = place_of([_digest(secret) for secret in self._secrets], [_digest(value)])
        return Verified(id_in(message.body, otherwise=replay_key(message.body)), None, None, place)

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:  # noqa: ARG002 - nothing is signed
        """As `Scheme.sign`: the secret itself."""
        return {self._header: self._secrets[0].decode()}


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
