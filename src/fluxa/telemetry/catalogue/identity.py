"""Signals about who calls: why a credential opened nothing. Never the credential itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """An access token was not accepted.

    Attributes:
        reason: what is wrong with it; the caller is not told.
    """

    reason: str
