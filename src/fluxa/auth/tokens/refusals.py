"""Why a token is refused. The log says it; whoever sent the token is told only that it is not valid."""

import enum


class Refusal(enum.StrEnum):
    """What is wrong with a token."""

    MALFORMED = "malformed"
    """It is not of the form of a signed token, or says something that cannot be."""
    ALGORITHM = "algorithm"
    """It is signed by another algorithm than its key has: `none`, or a public key taken for a shared secret."""
    TYPE = "type"
    """It is signed, but no access token."""
    ISSUER = "issuer"
    """Its issuer is not one of those that the settings name."""
    UNKNOWN_KEY = "unknown_key"
    """Its issuer has no such key, or has it no more."""
    SIGNATURE = "signature"
    """Its key did not sign this."""
    AUDIENCE = "audience"
    """It was made for somebody else."""
    EXPIRED = "expired"
    """Its time is over."""
    NOT_YET = "not_yet"
    """Its time has not come."""
    SESSION = "session"
    """Its session has ended."""
    UNMAPPED = "unmapped"
    """Its issuer says of its bearer nothing from which the settings make a tenant and a role."""


class RefusedTokenError(Exception):
    """A token is not valid."""

    def __init__(self, reason: Refusal) -> None:
        self.reason = reason
        super().__init__(reason)
