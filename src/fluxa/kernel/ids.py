"""Identifiers: time-ordered unique ids and the correlation id's shape. Not: what they identify."""

import functools
import re
import secrets
import time
from typing import Final, NewType

CorrelationId = NewType("CorrelationId", str)
"""Follows one story through requests, queues and providers (spec PIPE-10)."""

Tenant = NewType("Tenant", str)
"""Whose data it is; 1 to 63 characters of `a-z 0-9 _ -`."""

SYNTHETIC: Final = Tenant("fluxa-synthetic")
"""Whose events are those that Fluxa sends itself, to see whether all works. Nobody else is given this tenant."""

_SAFE_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?\Z")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


def uuid7() -> str:
    """A new UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_correlation_id() -> CorrelationId:
    """A new correlation id in the form of a W3C trace id: 32 hexadecimal digits."""
    return CorrelationId(secrets.token_hex(16))


def trace_id(traceparent: str | None) -> CorrelationId | None:
    """The trace id of a W3C `traceparent` value, or None if it is absent or not valid."""
    match = _TRACEPARENT.match(traceparent) if traceparent else None
    if match is None or not int(match[1], 16) or not int(match[2], 16):
        return None
    return CorrelationId(match[1])


def is_safe_correlation_id(text: str) -> bool:
    """Whether the id may stand in a header and a log line as it is."""
    return _SAFE_CORRELATION_ID.match(text) is not None


def correlation_id(traceparent: str | None, given: str | None) -> CorrelationId:
    """The id to go on with: the trace's, else the caller's if it is harmless, else a new one."""
    if found := trace_id(traceparent):
        return found
    if given and _SAFE_CORRELATION_ID.match(given):
        return CorrelationId(given)
    return new_correlation_id()


def new_traceparent(correlation_id: str) -> str | None:
    """A W3C `traceparent` value that goes on with this story, as a new span; None if the id is no trace id."""
    value = f"00-{correlation_id}-{secrets.token_hex(8)}-01"
    return value if trace_id(value) else None


@functools.lru_cache(maxsize=1024)
def is_tenant(text: str) -> bool:
    """Whether the text can name a tenant."""
    return _TENANT.match(text) is not None


def can_be_given(text: str) -> bool:
    """Whether somebody can have a credential for a tenant of this name."""
    return is_tenant(text) and text != SYNTHETIC
