"""Seals what lies in the database and nobody else may read, with a key made of the setting `secret_key`. No I/O."""

import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fluxa.kernel.errors import ErrorCode, FluxaError

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"


class Sealer:
    """Seals with AES-256-GCM.

    Args:
        secrets: of the setting, newest first: the first seals, each opens. None at all: sealing is refused.
        purpose: each has keys of its own, so that what was sealed for one cannot be passed off as another's.
    """

    def __init__(self, secrets: Sequence[bytes], purpose: str) -> None:
        self._purpose = purpose
        self.use(secrets)

    def use(self, secrets: Sequence[bytes]) -> None:
        """Seal with the first of these from now on, and open with each."""
        self._ciphers = [AESGCM(_derived(secret, self._purpose)) for secret in secrets]

    def is_newest(self, sealed: bytes, context: str) -> bool:
        """Whether the first secret opens it, so that the others are not needed for it.

        Raises:
            FluxaError: `Configuration`, if no secret that is set opens it.
        """
        self.open(sealed, context)
        try:
            _opened(self._ciphers[0], sealed, context)
        except InvalidTag:
            return False
        return True

    def seal(self, content: bytes, context: str) -> bytes:
        """The sealed form.

        Args:
            content: what nobody is to read.
            context: where it will lie; it cannot be opened in any other place.

        Raises:
            FluxaError: `Configuration`, if there is no secret.
        """
        if not self._ciphers:
            raise _no_secret()
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._ciphers[0].encrypt(nonce, content, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """What was sealed.

        Raises:
            FluxaError: `Configuration`, if no secret that is set opens it.
        """
        if not self._ciphers:
            raise _no_secret()
        for cipher in self._ciphers if sealed[:1] == _VERSION else ():
            try:
                return _opened(cipher, sealed, context)
            except InvalidTag:  # sealed with another secret, perhaps the next one
                continue
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"{context} was sealed with another secret_key. Set the same one for all processes of an installation; "
            "while it is replaced, name both: new,old.",
        )


def _opened(cipher: AESGCM, sealed: bytes, context: str) -> bytes:
    nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    return cipher.decrypt(nonce, rest, context.encode())


def _derived(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"fluxa/{purpose}".encode()).derive(secret)


def _no_secret() -> FluxaError:
    return FluxaError(
        ErrorCode.CONFIGURATION,
        "secret_key is not set: it seals the keys that sign access tokens. Make one with: openssl rand -hex 32, and "
        "give it to all processes of this installation as FLUXA_SECRET_KEY.",
    )
