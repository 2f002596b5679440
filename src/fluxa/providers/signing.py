"""Signs deliveries as the Standard Webhooks specification 1.0 says: any of its libraries can check them. Pure."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from fluxa.kernel.errors import ErrorCode, FluxaError

PREFIX = "whsec_"
"""How a secret begins."""
_KEY_MIN_BYTES, _KEY_MAX_BYTES = 24, 64
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


def key_of(secret: str) -> bytes:
    """The key in a secret: Base64 of 24 to 64 bytes, after `whsec_`.

    Raises:
        FluxaError: `Configuration`; the secret is not in its text.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not _KEY_MIN_BYTES <= len(key) <= _KEY_MAX_BYTES:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"A signing secret is {PREFIX} and then Base64 of {_KEY_MIN_BYTES} to {_KEY_MAX_BYTES} random bytes.",
        )
    return key


def message_id(record_id: str) -> str:
    """The id under which a receiver knows a record, the same at each attempt.

    It is signed beside the time with dots between, so it must not hold one, and it stands in a header:
    an id of any other form is replaced by its digest.
    """
    if _PLAIN_ID.match(record_id):
        return record_id
    return "sha256_" + hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).hexdigest()


def signed(keys: Sequence[bytes], *, message: str, at_s: int, body: bytes) -> Mapping[str, str]:
    """The headers that prove who sent a body and when.

    Args:
        keys: one signature each; two or more while a secret is replaced.
        message: the `message_id`.
        at_s: the time of this attempt, in Unix seconds.
        body: what is sent, byte for byte.
    """
    content = f"{message}.{at_s}.".encode() + body
    headers = {"webhook-id": message, "webhook-timestamp": str(at_s)}
    if keys:
        headers["webhook-signature"] = " ".join(f"v1,{_signature(key, content)}" for key in keys)
    return headers


def _signature(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
