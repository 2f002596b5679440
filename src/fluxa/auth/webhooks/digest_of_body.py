"""GitHub and Vercel: a hexadecimal HMAC of the body alone. They sign no time, so only receipts keep replays out."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fluxa.auth.webhooks.message import Message, Verified, WebhookRefusedError, id_in, place_of, replay_key, unusable

_SECRET_MIN = 16


@dataclass(frozen=True, slots=True)
class Form:
    """How one provider writes it.

    Attributes:
        provider: for errors.
        header: where the signature is, as written.
        prefix: what stands before it.
        algorithm: of the HMAC.
        digest: the form of the digest.
    """

    provider: str
    header: str
    prefix: bytes
    algorithm: str
    digest: re.Pattern[bytes]


GITHUB: Final = Form("github", "X-Hub-Signature-256", b"sha256=", "sha256", re.compile(rb"[0-9a-f]{64}\Z"))
"""The older header with SHA-1 is not looked at; the delivery id is not signed and proves nothing."""
VERCEL: Final = Form("vercel", "x-vercel-signature", b"", "sha1", re.compile(rb"[0-9a-f]{40}\Z"))


class DigestOfBody:
    """A `Scheme`.

    Raises:
        FluxaError: `Configuration` for a secret that could be guessed.
    """

    def __init__(self, form: Form, secrets: Sequence[str]) -> None:
        if not all(len(secret) >= _SECRET_MIN for secret in secrets):
            raise unusable(form.provider, f"at least {_SECRET_MIN} characters")
        self._form = form
        self._header = form.header.lower().encode()
        self._secrets = tuple(secret.encode() for secret in secrets)

    def claims(self, message: Message) -> bool:
        """As `Scheme.claims`."""
        return message.has(self._header)

    def verify(self, message: Message, *, now_s: float) -> Verified:  # noqa: ARG002 - no time is signed
        """As `Scheme.verify`."""
        value = message.only(self._header)
        digest = value.removeprefix(self._form.prefix)
        if not value.startswith(self._form.prefix) or not self._form.digest.match(digest):
            raise WebhookRefusedError(f"the header {self._form.header} is not of its form")
        place = place_of([self._signature(secret, message.body) for secret in self._secrets], [digest])
        key = replay_key(message.body)
        return Verified(id_in(message.body, otherwise=key), None, key, place)

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:  # noqa: ARG002 - not signed
        """As `Scheme.sign`; neither an id nor the time is signed."""
        return {self._form.header: (self._form.prefix + self._signature(self._secrets[0], body)).decode()}

    def _signature(self, secret: bytes, body: bytes) -> bytes:
        return hmac.digest(secret, body, self._form.algorithm).hex().encode()
