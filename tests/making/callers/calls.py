"""Signed calls as a cron job makes them, right and wrong in every way that a test may want."""

import secrets
import time

from fluxa.auth import hmac_signature

SECRET = "the newest secret of cron jobs"  # noqa: S105 - a test's own
OLDER = "the secret of cron jobs before"
OVERRIDE = "the token for an emergency only"
LEGACY = "the static secret of long ago"


def signed(
    target: str,
    *,
    method: str = "POST",
    body: bytes = b"",
    secret: str = SECRET,
    late_s: float = 0.0,
    nonce: str | None = None,
) -> dict[str, str]:
    """The headers of a signed call.

    Args:
        target: path and query.
        method: of the call.
        body: of the call.
        secret: signs it.
        late_s: seconds by which its timestamp is behind the time; negative: ahead of it.
        nonce: a new one, unless it is given.
    """
    return hmac_signature.sign(
        secret.encode(),
        timestamp_s=int(time.time() - late_s),
        nonce=nonce or secrets.token_hex(16),
        method=method,
        target=target,
        body=body,
    )
