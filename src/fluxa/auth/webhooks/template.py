"""HMAC as the settings describe it, for senders that have no file here: headers, prefix, encoding and template."""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fluxa.auth.webhooks.message import (
    TOLERANCE_S,
    Message,
    Verified,
    WebhookRefusedError,
    id_in,
    near,
    place_of,
    replay_key,
    text_id,
    unusable,
)
from fluxa.kernel.errors import ErrorCode, FluxaError

_SECRET_MIN = 16
_PLACE = re.compile(r"(\{(?:id|timestamp|body)\})")
_TIME = re.compile(rb"[0-9]{1,15}\Z")
_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class HmacForm:
    """How a sender writes it.

    Attributes:
        signature_header: where the signature is.
        prefix: what stands before it.
        algorithm: of the HMAC.
        encoding: of the signature; base64 is the standard alphabet.
        timestamp_header: where the time is; None if none is sent.
        timestamp_unit: of the time.
        id_header: where the message id is; None if none is sent.
        template: what is signed, with the places `{id}`, `{timestamp}` and `{body}`.
    """

    signature_header: str = "X-Signature"
    prefix: str = ""
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    timestamp_header: str | None = None
    timestamp_unit: Literal["s", "ms"] = "s"
    id_header: str | None = None
    template: str = "{body}"


class Template:
    """A `Scheme`.

    Raises:
        FluxaError: `Configuration` for a secret that could be guessed, or a form that leaves open what it reads.
    """

    def __init__(self, form: HmacForm, secrets: Sequence[str], *, tolerance_s: float = TOLERANCE_S) -> None:
        if not all(len(secret) >= _SECRET_MIN for secret in secrets):
            raise unusable("hmac", f"at least {_SECRET_MIN} characters")
        self._parts = _PLACE.split(form.template)
        _check(form, self._parts)
        self._marks = [part for part in self._parts if part and not _PLACE.match(part)]
        self._form = form
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._tolerance_s = tolerance_s

    def claims(self, message: Message) -> bool:
        """As `Scheme.claims`."""
        return message.has(_name(self._form.signature_header))

    def verify(self, message: Message, *, now_s: float) -> Verified:
        """As `Scheme.verify`."""
        form = self._form
        given = self._given(message.only(_name(form.signature_header)))
        timestamp = message_id = b""
        signed_at_s = None
        if form.timestamp_header is not None:
            timestamp = message.only(_name(form.timestamp_header))
            if not _TIME.match(timestamp):
                raise WebhookRefusedError("the timestamp is not a number")
            signed_at_s = int(timestamp) / (_MILLISECONDS if form.timestamp_unit == "ms" else 1)
            near(signed_at_s, now_s=now_s, tolerance_s=self._tolerance_s)
        if form.id_header is not None:
            message_id = text_id(message.only(_name(form.id_header)), marks=self._marks).encode()
        content = self._content(message_id, timestamp, message.body)
        place = place_of([self._digest(secret, content) for secret in self._secrets], [given])
        key = replay_key(content)
        return Verified(message_id.decode() or id_in(message.body, otherwise=key), signed_at_s, key, place)

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:
        """As `Scheme.sign`."""
        form = self._form
        unit = _MILLISECONDS if form.timestamp_unit == "ms" else 1
        timestamp = str(int(now_s * unit))
        digest = self._digest(self._secrets[0], self._content(message_id.encode(), timestamp.encode(), body))
        text = digest.hex() if form.encoding == "hex" else base64.b64encode(digest).decode()
        headers = {form.signature_header: form.prefix + text}
        if form.timestamp_header is not None:
            headers[form.timestamp_header] = timestamp
        if form.id_header is not None:
            headers[form.id_header] = message_id
        return headers

    def _given(self, value: bytes) -> bytes:
        prefix = self._form.prefix.encode()
        text = value.removeprefix(prefix)
        if not value.startswith(prefix):
            raise WebhookRefusedError("the signature does not begin with its prefix")
        try:
            return binascii.unhexlify(text) if self._form.encoding == "hex" else base64.b64decode(text, validate=True)
        except ValueError:
            raise WebhookRefusedError(f"the signature is not {self._form.encoding}") from None

    def _content(self, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
        places = {"{id}": message_id, "{timestamp}": timestamp, "{body}": body}
        return b"".join(places.get(part, part.encode()) for part in self._parts)

    def _digest(self, secret: bytes, content: bytes) -> bytes:
        return hmac.digest(secret, content, self._form.algorithm)


def _name(header: str) -> bytes:
    return header.lower().encode()


def _check(form: HmacForm, parts: Sequence[str]) -> None:
    """Refuse a form in which something that is read is not signed, or the other way round."""
    if parts.count("{body}") != 1:
        raise _wrong("its template must have {body} once")
    for place, header in (("{timestamp}", form.timestamp_header), ("{id}", form.id_header)):
        if (place in parts) != (header is not None):
            raise _wrong(
                f"{place} in its template and the header for it go together: what is not signed proves nothing"
            )


def _wrong(what: str) -> FluxaError:
    return FluxaError(ErrorCode.CONFIGURATION, f"The form of a webhook's HMAC cannot be used: {what}.")
