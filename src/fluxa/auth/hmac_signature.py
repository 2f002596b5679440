"""Signs the calls of machines, and checks such signatures: who signed, when, and exactly this request.

Pure: bytes and the time in, a verdict out. Not: whether a nonce was used before (nonces), or where secrets come from.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fluxa.auth.principal import Reason, unauthenticated
from fluxa.kernel.errors import FluxaError

WINDOW_S = 300
"""How far a timestamp may be from our clock, in seconds, to either side."""

TIMESTAMP = b"x-fluxa-timestamp"
NONCE = b"x-fluxa-nonce"
SIGNATURE = b"x-fluxa-signature"

_TIMESTAMP = re.compile(rb"[0-9]{1,12}\Z")
_NONCE = re.compile(rb"[A-Za-z0-9_-]{16,128}\Z")
_SIGNATURE = re.compile(rb"v1=([0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True)
class Signature:
    """What the three headers of a signed call say; nothing of it is proved yet.

    Attributes:
        timestamp: when it was signed, in Unix seconds, as sent.
        nonce: what makes the call unlike any other, as sent.
        digest: the HMAC-SHA256.
    """

    timestamp: bytes
    nonce: bytes
    digest: bytes

    @property
    def signed_at_s(self) -> int:
        """When it was signed, in Unix seconds."""
        return int(self.timestamp)

    def check_time(self, now_s: float) -> None:
        """Refuse what is too old, and what is ahead of its time.

        Args:
            now_s: the time, in Unix seconds.

        Raises:
            FluxaError: `Unauthenticated`.
        """
        late_s = now_s - self.signed_at_s
        if abs(late_s) > WINDOW_S:
            where = "behind" if late_s > 0 else "ahead of"
            raise _refused(
                f"The timestamp is {abs(late_s):.0f} s {where} this server's clock; at most {WINDOW_S} s are allowed. "
                "Sign each call anew, and compare the clocks."
            )

    def signer(self, secrets: Sequence[bytes], *, method: bytes, target: bytes, body: bytes) -> int | None:
        """Which secret signed exactly this request; None, if none of them did.

        Every secret is tried, each compared in constant time, so that the time taken tells nothing.

        Args:
            secrets: those in force, newest first; several while they are rotated.
            method: upper case, as sent.
            target: the path as sent, with `?` and the query if there is one.
            body: the whole body.

        Returns:
            The place of the secret in `secrets`.
        """
        message = _message(self.timestamp, self.nonce, method=method, target=target, body=body)
        matches = [hmac.compare_digest(hmac.digest(secret, message, "sha256"), self.digest) for secret in secrets]
        return matches.index(True) if any(matches) else None


def is_signed(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request claims to be signed, well or badly."""
    return any(name in (TIMESTAMP, NONCE, SIGNATURE) for name, _ in headers)


def read(headers: Iterable[tuple[bytes, bytes]]) -> Signature:
    """The signature of a request.

    Args:
        headers: names in lower case.

    Raises:
        FluxaError: `Unauthenticated`, for a header that is missing, repeated or not of its form.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (TIMESTAMP, NONCE, SIGNATURE):
            if name in found:
                raise _refused(f"{_shown(name)} is there more than once.")
            found[name] = value
    timestamp = _part(found, TIMESTAMP, _TIMESTAMP, "Unix seconds")
    nonce = _part(found, NONCE, _NONCE, "16 to 128 of A-Z a-z 0-9 _ -")
    digest = _part(found, SIGNATURE, _SIGNATURE, "v1= and 64 hexadecimal digits in lower case")
    return Signature(timestamp, nonce, bytes.fromhex(digest.removeprefix(b"v1=").decode()))


def sign(secret: bytes, *, timestamp_s: int, nonce: str, method: str, target: str, body: bytes = b"") -> dict[str, str]:
    """The headers that sign a request.

    Args:
        secret: shared with the server.
        timestamp_s: now, in Unix seconds.
        nonce: 16 to 128 of `A-Z a-z 0-9 _ -`, never used before.
        method: upper case.
        target: the path as it will be sent, with `?` and the query if there is one.
        body: the whole body.
    """
    timestamp = str(timestamp_s).encode()
    message = _message(timestamp, nonce.encode(), method=method.encode(), target=target.encode(), body=body)
    return {
        "X-Fluxa-Timestamp": timestamp.decode(),
        "X-Fluxa-Nonce": nonce,
        "X-Fluxa-Signature": f"v1={hmac.digest(secret, message, 'sha256').hex()}",
    }


def _message(timestamp: bytes, nonce: bytes, *, method: bytes, target: bytes, body: bytes) -> bytes:
    """What is signed. No part can hold a line feed, so that no two requests have the same text."""
    return b"\n".join((b"v1", timestamp, nonce, method, target, hashlib.sha256(body).hexdigest().encode()))


def _part(found: dict[bytes, bytes], name: bytes, form: re.Pattern[bytes], words: str) -> bytes:
    value = found.get(name)
    if value is None:
        raise _refused(f"A signed call has {_shown(name)}, this one has not.")
    if not form.match(value):
        raise _refused(f"{_shown(name)} is not of its form: {words}.")
    return value


def _shown(name: bytes) -> str:
    return name.decode().title()


def _refused(detail: str, reason: Reason = Reason.MALFORMED) -> FluxaError:
    return unauthenticated(reason, detail)
