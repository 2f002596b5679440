"""Signatures of tokens: takes one apart, and checks it with a key whose algorithm is pinned. No I/O, no claims."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import CompactSignature, JWSRegistry
from typing_extensions import override

from fluxa.auth.tokens.refusals import Refusal, RefusedTokenError

TOKEN_MAX_BYTES: Final = 4096
"""The longest token that is looked at."""
ALGORITHM: Final = "EdDSA"
"""What our own tokens are signed by, on the curve Ed25519."""

_PARTS: Final = 3
_OF_CURVE: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_OF_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_RSA_MIN_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class Signed:
    """A token taken apart; nothing of it is proved yet.

    Attributes:
        algorithm: by which it says it is signed.
        kid: which key it says signed it.
        type: what it says it is, in lower case.
        payload: its claims.
    """

    algorithm: str
    kid: str
    type: str
    payload: bytes
    signature: CompactSignature


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies, by one algorithm only.

    Attributes:
        kid: its name.
        algorithm: the one.
        key: the key itself; never a shared secret.
    """

    kid: str
    algorithm: str
    key: Key


class _Pinned(JWSRegistry):
    """Knows one algorithm. EdDSA is what all verifiers understand; the library would warn to prefer Ed25519."""

    @override
    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise RefusedTokenError(Refusal.ALGORITHM)
        return self.algorithms[name]


def taken_apart(token: str) -> Signed:
    """What a token says.

    Raises:
        RefusedTokenError: if it is not of the form.
    """
    parts = token.split(".")
    if len(token) > TOKEN_MAX_BYTES or len(parts) != _PARTS or not token.isascii():
        raise RefusedTokenError(Refusal.MALFORMED)
    for part in parts:
        _check_canonical(part)
    try:
        found = jws.extract_compact(token.encode())
    except (JoseError, ValueError, TypeError, RecursionError):
        raise RefusedTokenError(Refusal.MALFORMED) from None
    header: Mapping[str, Any] = found.headers()
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if "crit" in header or "b64" in header or not (isinstance(kid, str) and isinstance(kind, str)):
        raise RefusedTokenError(Refusal.ALGORITHM if algorithm == "none" else Refusal.MALFORMED)
    if not isinstance(algorithm, str):
        raise RefusedTokenError(Refusal.MALFORMED)
    return Signed(algorithm, kid, kind.lower(), found.payload, found)


def check_signature(token: Signed, key: PublicKey) -> None:
    """Refuse what this key did not sign by its algorithm.

    Raises:
        RefusedTokenError: it did not.
    """
    if token.algorithm != key.algorithm:
        raise RefusedTokenError(Refusal.ALGORITHM)
    registry = _Pinned(algorithms=[key.algorithm], strict_check_header=False)
    try:
        right = jws.validate_compact(token.signature, key.key, registry=registry)
    except (JoseError, ValueError, TypeError):
        right = False
    if not right:
        raise RefusedTokenError(Refusal.SIGNATURE)


def signed(payload: bytes, *, kid: str, kind: str, private: OKPKey) -> str:
    """A token of our own."""
    header = {"alg": ALGORITHM, "kid": kid, "typ": kind}
    return jws.serialize_compact(header, payload, private, registry=_Pinned(algorithms=[ALGORITHM]))


def public_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """A key as an issuer publishes it; None for one that is not for tokens, or is too weak for them.

    The algorithm is the one that the key names, else the one of its kind: never what a token wishes.
    """
    kid, use, kind, named = jwk.get("kid"), jwk.get("use", "sig"), jwk.get("kty"), jwk.get("alg")
    if not isinstance(kid, str) or not kid or use != "sig" or any(part in jwk for part in ("d", "k")):
        return None
    plain = {name: value for name, value in jwk.items() if name not in ("alg", "key_ops", "use", "kid")}
    try:
        if kind == "OKP" and jwk.get("crv") == "Ed25519" and named in (None, "EdDSA", "Ed25519"):
            return PublicKey(kid, named or ALGORITHM, OKPKey.import_key(plain))
        if kind == "EC" and named in (None, expected := _OF_CURVE.get(str(jwk.get("crv")), "")) and expected:
            return PublicKey(kid, expected, ECKey.import_key(plain))
        if kind == "RSA" and (named or "RS256") in _OF_RSA:
            key = RSAKey.import_key(plain)
            return PublicKey(kid, named or "RS256", key) if key.public_key.key_size >= _RSA_MIN_BITS else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None  # one damaged key must not hide the others
    return None


def _check_canonical(part: str) -> None:
    """Refuse a second spelling of the same bytes: what was looked at once has one form."""
    try:
        content = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise RefusedTokenError(Refusal.MALFORMED) from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part.encode():
        raise RefusedTokenError(Refusal.MALFORMED)
