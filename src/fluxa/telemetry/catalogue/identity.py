"""Signals about who calls: why a credential opened nothing. Never the credential itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """An access token was not accepted.

    Attributes:
        reason: what is wrong with it; the caller is not told.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class RefreshReused:
    """A refresh token was shown that had been exchanged before; its session has ended.

    Attributes:
        user_id: whose.
        address: who showed it.
        correlation_id: in which request.
    """

    user_id: str
    address: str
    correlation_id: str
