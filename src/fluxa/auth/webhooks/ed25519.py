"""Ed25519 keys of providers that sign with a key only they have. Not: which bytes they sign."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fluxa.auth.webhooks.message import WebhookRefusedError

KEY_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """A key that verifies, and signs where its private part is known.

    Attributes:
        public: verifies.
        private: signs; None where only the provider has it, as it should be outside of tests.
    """

    public: Ed25519PublicKey
    private: Ed25519PrivateKey | None = None

    @classmethod
    def of_public(cls, raw: bytes) -> "Ed25519Key":
        """A provider's key.

        Raises:
            ValueError: it has not 32 bytes.
        """
        return cls(Ed25519PublicKey.from_public_bytes(raw))

    @classmethod
    def of_private(cls, raw: bytes) -> "Ed25519Key":
        """A key of one's own; of a seed followed by its public part, the seed counts.

        Raises:
            ValueError: it has neither 32 nor 64 bytes.
        """
        if len(raw) not in {KEY_BYTES, 2 * KEY_BYTES}:
            raise ValueError("not 32 or 64 bytes")
        private = Ed25519PrivateKey.from_private_bytes(raw[:KEY_BYTES])
        return cls(private.public_key(), private)

    def matches(self, signature: bytes, content: bytes) -> bool:
        """Whether this key signed it."""
        try:
            self.public.verify(signature, content)
        except InvalidSignature:
            return False
        return True


def key_place(keys: Sequence[Ed25519Key], signatures: Sequence[bytes], content: bytes) -> int:
    """Which key made one of the signatures.

    Raises:
        WebhookRefusedError: none did.
    """
    for place, key in enumerate(keys):
        if any(key.matches(signature, content) for signature in signatures):
            return place
    raise WebhookRefusedError("no signature is that of this message with a key in force")
