"""A webhook as it came, what is proved of it, and how it is refused. Not: how a provider signs (one file each)."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError

TOLERANCE_S = 300.0
"""How far a timestamp may be from our clock, in seconds, to either side."""

_SECONDS = re.compile(rb"[0-9]{1,12}\Z")
_ID = re.compile(r"[\x21-\x7e]{1,255}\Z")


class WebhookRefusedError(FluxaError):
    """It is not proved that the provider sent this. What the caller reads is the same for every reason.

    Attributes:
        reason: why, for our own log; it never holds a secret.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(ErrorCode.UNAUTHENTICATED, "The signature of this webhook is missing or not valid.")


@dataclass(frozen=True, slots=True)
class Message:
    """A webhook of which nothing is proved yet.

    Attributes:
        headers: names in lower case, values as sent.
        body: all of it, as sent.
    """

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def has(self, name: bytes) -> bool:
        """Whether a header is there, well formed or not."""
        return any(known == name for known, _ in self.headers)

    def only(self, name: bytes) -> bytes:
        """The value of a header that is there once.

        Raises:
            WebhookRefusedError: it is missing, empty or repeated; two values could be read differently by two programs.
        """
        found = [value for known, value in self.headers if known == name]
        if len(found) != 1:
            how_often = "missing" if not found else "there more than once"
            raise WebhookRefusedError(f"the header {name.decode()} is {how_often}")
        value = found[0].strip(b" \t")
        if not value:
            raise WebhookRefusedError(f"the header {name.decode()} is empty")
        return value


@dataclass(frozen=True, slots=True)
class Verified:
    """What is proved of a webhook.

    Attributes:
        message_id: the provider's id where that is signed, else the digest of what is signed; a retry has the same.
        signed_at_s: when it was signed, in Unix seconds; None where the provider does not sign the time.
        replay_key: the digest of all that was signed: the same bytes again have the same key, whatever else of the
            request was changed. None where nothing is signed.
        place: which of the secrets it was, 0 for the newest.
    """

    message_id: str
    signed_at_s: float | None
    replay_key: str | None
    place: int


class Scheme(Protocol):
    """How one provider signs; made with the secrets in force, newest first."""

    def claims(self, message: Message) -> bool:
        """Whether a webhook looks like this provider's, well or badly signed."""
        ...

    def verify(self, message: Message, *, now_s: float) -> Verified:
        """Prove who sent it.

        Args:
            message: the webhook.
            now_s: the time, in Unix seconds.

        Raises:
            WebhookRefusedError: whatever is wrong with it.
        """
        ...

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:
        """The headers with which the provider would send a body, made with the newest secret.

        Raises:
            FluxaError: `Configuration`, where only the provider has what signs.
        """
        ...


def time_of(value: bytes, *, now_s: float, tolerance_s: float) -> int:
    """A timestamp in Unix seconds that is near enough.

    Raises:
        WebhookRefusedError: it is no number, too old, or ahead of its time.
    """
    if not _SECONDS.match(value):
        raise WebhookRefusedError("the timestamp is not Unix seconds")
    near(int(value), now_s=now_s, tolerance_s=tolerance_s)
    return int(value)


def near(signed_at_s: float, *, now_s: float, tolerance_s: float) -> None:
    """Refuse what is too old, and what is ahead of its time: a provider's library often checks the past only.

    Raises:
        WebhookRefusedError: it is further away than `tolerance_s`.
    """
    late_s = now_s - signed_at_s
    if abs(late_s) > tolerance_s:
        where = "behind" if late_s > 0 else "ahead of"
        raise WebhookRefusedError(f"the timestamp is {abs(late_s):.0f} s {where} our clock, {tolerance_s:.0f} allowed")


def place_of(expected: Sequence[bytes], given: Sequence[bytes]) -> int:
    """Which secret's signature is among those given; every pair is compared, so that the time taken tells nothing.

    Raises:
        WebhookRefusedError: none is.
    """
    matches = [any([hmac.compare_digest(one, other) for other in given]) for one in expected]  # noqa: C419 - all of them
    if True not in matches:
        raise WebhookRefusedError("no signature is that of this message with a secret in force")
    return matches.index(True)


def replay_key(signed: bytes) -> str:
    """The digest of what was signed."""
    return hashlib.sha256(signed).hexdigest()


def id_in(body: bytes, *, otherwise: str) -> str:
    """The `id` of a JSON object, which its provider makes unique; else the digest given."""
    try:
        value = json.decode(body)
    except FluxaError:
        return otherwise
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and _ID.match(found) else otherwise


def text_id(value: bytes, *, marks: Sequence[str]) -> str:
    """An id that came in a header.

    Args:
        value: as sent.
        marks: what stands between the id and the rest where it is signed: an id that holds one could be cut elsewhere.

    Raises:
        WebhookRefusedError: it is not 1 to 255 visible ASCII characters, or holds a mark.
    """
    text = value.decode("latin-1")
    if not _ID.match(text):
        raise WebhookRefusedError("the message id is not 1 to 255 visible ASCII characters")
    if any(mark in text for mark in marks):
        raise WebhookRefusedError("the message id holds what separates it from the rest")
    return text


def unusable(scheme: str, form: str) -> FluxaError:
    """The error for a secret that is not of its form; the secret itself is not in it."""
    return FluxaError(ErrorCode.CONFIGURATION, f"A secret of the webhook scheme {scheme} is not of its form: {form}.")
