"""Standard Webhooks, which Svix, Resend, OpenAI and Supabase's auth hooks speak: id, time and body, dots between.

`v1` is base64 HMAC-SHA256 with a `whsec_` secret; `v1a` is base64 Ed25519 with the sender's key.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from fluxa.auth.webhooks.ed25519 import SIGNATURE_BYTES, Ed25519Key, key_place
from fluxa.auth.webhooks.message import (
    TOLERANCE_S,
    Message,
    Verified,
    WebhookRefusedError,
    place_of,
    replay_key,
    text_id,
    time_of,
    unusable,
)
from fluxa.kernel.errors import ErrorCode, FluxaError

FAMILIES: Final = (b"webhook", b"svix")
_PARTS_MAX = 16
"""Each Ed25519 signature costs a tenth of a millisecond to check, so nobody may send thousands."""
_SECRET_MIN_BYTES = 16
_FORM = "whsec_ (or, for v1a, whpk_) and base64 of at least 16 bytes"


class Standard:
    """A `Scheme`.

    Args of the constructor: `secrets` are `whsec_…`, for v1a the sender's public key `whpk_…` (or, to sign in tests,
    the private one, `whsk_…`); Supabase's form `v1,whsec_…` is read as well. `family` is how the headers begin that
    are written and looked for first, the other family is understood too.

    Raises:
        FluxaError: `Configuration` for a secret that is not of its form.
    """

    def __init__(self, secrets: Sequence[str], *, tolerance_s: float = TOLERANCE_S, family: bytes = b"webhook") -> None:
        self._keys = tuple(_key(secret) for secret in secrets)
        self._tolerance_s = tolerance_s
        self._families = (family, *(other for other in FAMILIES if other != family))

    def claims(self, message: Message) -> bool:
        """As `Scheme.claims`."""
        return any(message.has(family + b"-signature") for family in self._families)

    def verify(self, message: Message, *, now_s: float) -> Verified:
        """As `Scheme.verify`."""
        family = next((one for one in self._families if message.has(one + b"-signature")), self._families[0])
        message_id = text_id(message.only(family + b"-id"), marks=(".",))
        timestamp = message.only(family + b"-timestamp")
        symmetric, asymmetric = _signatures(message.only(family + b"-signature"))
        signed_at_s = time_of(timestamp, now_s=now_s, tolerance_s=self._tolerance_s)
        content = b".".join((message_id.encode(), timestamp, message.body))
        place = self._place(content, symmetric, asymmetric)
        return Verified(message_id, signed_at_s, replay_key(content), place)

    def sign(self, body: bytes, *, message_id: str, now_s: float) -> Mapping[str, str]:
        """As `Scheme.sign`."""
        timestamp, key = str(int(now_s)), self._keys[0]
        content = b".".join((message_id.encode(), timestamp.encode(), body))
        if isinstance(key, bytes):
            signature = "v1," + base64.b64encode(_digest(key, content)).decode()
        elif key.private is not None:
            signature = "v1a," + base64.b64encode(key.private.sign(content)).decode()
        else:
            raise FluxaError(ErrorCode.CONFIGURATION, "Only the sender can sign: this is its public key, whpk_…")
        name = self._families[0].decode()
        return {f"{name}-id": message_id, f"{name}-timestamp": timestamp, f"{name}-signature": signature}

    def _place(self, content: bytes, symmetric: list[bytes], asymmetric: list[bytes]) -> int:
        """Which of all secrets it was; a kind of signature counts only for secrets of its kind."""
        shared = [(place, key) for place, key in enumerate(self._keys) if isinstance(key, bytes)]
        paired = [(place, key) for place, key in enumerate(self._keys) if isinstance(key, Ed25519Key)]
        if symmetric and shared:
            try:
                return shared[place_of([_digest(key, content) for _, key in shared], symmetric)][0]
            except WebhookRefusedError:
                if not (asymmetric and paired):
                    raise
        return paired[key_place([key for _, key in paired], asymmetric, content)][0]


def _digest(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def _key(secret: str) -> bytes | Ed25519Key:
    text = secret.removeprefix("v1,").removeprefix("v1a,")
    prefix, mark, rest = text.partition("_")
    try:
        raw = _decoded(rest if mark else text)
        match prefix if mark else "whsec":
            case "whpk":
                return Ed25519Key.of_public(raw)
            case "whsk":
                return Ed25519Key.of_private(raw)
            case "whsec":
                pass
            case _:
                raise unusable("standard", _FORM)
    except ValueError:
        raise unusable("standard", _FORM) from None
    if len(raw) < _SECRET_MIN_BYTES:
        raise unusable("standard", _FORM)
    return raw


def _decoded(text: str) -> bytes:
    text = text.rstrip("=")  # some senders leave the padding out
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _signatures(header: bytes) -> tuple[list[bytes], list[bytes]]:
    """Those of v1 and those of v1a; what is of no form that we know is passed over, as the standard asks."""
    parts = header.split()
    if len(parts) > _PARTS_MAX:
        raise WebhookRefusedError("the signature header has too many parts")
    found: dict[bytes, list[bytes]] = {b"v1": [], b"v1a": []}
    for part in parts:
        version, mark, text = part.partition(b",")
        if not mark or version not in found:
            continue
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        if version == b"v1" or len(raw) == SIGNATURE_BYTES:
            found[version].append(raw)
    if not any(found.values()):
        raise WebhookRefusedError("the signature header has no v1 and no v1a signature")
    return found[b"v1"], found[b"v1a"]
