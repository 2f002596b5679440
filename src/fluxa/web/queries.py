"""Reads query parameters strictly: unknown, repeated and malformed ones are named in the refusal."""

import datetime as dt
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.web.routes import Scope

_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)
_SHOWN_MAX = 60
TEXT_MAX = 1024
"""The longest text parameter, in characters."""
PLAIN_TEXT = r"^[^\u0000-\u001f\u007f-\u009f]+$"
"""What a text parameter may hold, as OpenAPI says it."""


class Query:
    """The parameters of one request.

    Args:
        scope: the request.
        allowed: the names that the route knows.

    Raises:
        FluxaError: `InvalidRequest` for a name that is unknown or repeated, or text that is not UTF-8.
    """

    def __init__(self, scope: Scope, allowed: Collection[str]) -> None:
        self._values: dict[str, str] = {}
        for part in scope["query_string"].split(b"&"):
            if not part:
                continue
            raw_name, _, raw_value = part.partition(b"=")
            name = _decoded("query", raw_name)
            if name not in allowed:
                raise invalid(name, f"is not a parameter here; there are {', '.join(sorted(allowed))}")
            if name in self._values:
                raise invalid(name, "is given more than once")
            self._values[name] = _decoded(name, raw_value)

    def text(self, name: str) -> str | None:
        """A text, or None if it is not given."""
        value = self._values.get(name)
        if value is None:
            return None
        if not 0 < len(value) <= TEXT_MAX:
            raise invalid(name, f"must have 1 to {TEXT_MAX} characters")
        if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
            raise invalid(name, "holds a control character")
        return value

    def integer(self, name: str, *, default: int, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        value = self._values.get(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(maximum))):
            raise invalid(name, f"must be a whole number from {minimum} to {maximum}")
        number = int(value)
        if not minimum <= number <= maximum:
            raise invalid(name, f"must be from {minimum} to {maximum}")
        return number

    def moment(self, name: str) -> dt.datetime | None:
        """A date and time in UTC, or None if it is not given."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            found = msgspec.convert(value, dt.datetime)
        except msgspec.ValidationError:
            raise invalid(name, "must be an RFC 3339 date and time, as 2026-01-31T12:00:00Z") from None
        if found.tzinfo is None:
            raise invalid(name, "must have a time zone, as 2026-01-31T12:00:00Z (write + as %2B)")
        try:
            return found.astimezone(dt.UTC)
        except OverflowError:
            return _EARLIEST if found.year == dt.MINYEAR else _LATEST


def parameter(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """The OpenAPI object of an optional query parameter; a text unless a schema says otherwise."""
    text = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX, "pattern": PLAIN_TEXT}
    return {"name": name, "in": "query", "description": description, "schema": schema or text}


def invalid(name: str, problem: str) -> FluxaError:
    """The refusal of a parameter; the pointer names it."""
    shown = name if len(name) <= _SHOWN_MAX else name[:_SHOWN_MAX] + "…"
    escaped = shown.replace("~", "~0").replace("/", "~1")
    return FluxaError(ErrorCode.INVALID_REQUEST, f"{shown} {problem}.", pointer=f"/{escaped}")


def _decoded(name: str, raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise invalid(name, "is not UTF-8") from None
