"""A sink that is a syslog server: the messages, as RFC 5424 has them. Not: the connection (a port, here)."""

import datetime as dt
import platform
import re
from collections.abc import Sequence
from typing import Protocol

from fluxa.kernel import json
from fluxa.operations.ledger.chain import Entry
from fluxa.operations.ledger.export import line_of

_PRIORITY = 13 * 8 + 5
"""Facility 13, log audit; severity 5, notice (RFC 5424 §6.2.1)."""
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_HOST_MAX, _MESSAGE_ID_MAX = 255, 32


class SyslogConnection(Protocol):
    """A way to a syslog server."""

    max_bytes: int
    """The longest message that it carries."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in this order.

        Raises:
            FluxaError: `ProviderUnavailable`.
        """
        ...


class SyslogSink:
    """A `Sink` that sends each entry as a message whose text is the entry's line of JSON."""

    def __init__(self, connection: SyslogConnection, *, host: str | None = None) -> None:
        self._connection = connection
        self._host = platform.node() if host is None else host

    async def deliver(self, entries: Sequence[Entry]) -> None:
        """As `Sink.deliver`; what that is worth depends on the connection."""
        limit = self._connection.max_bytes
        await self._connection.send([message_of(entry, host=self._host, max_bytes=limit) for entry in entries])


def message_of(entry: Entry, *, host: str, max_bytes: int) -> bytes:
    """An entry as a message; one that would be too long goes without its detail, and says how long that was."""
    at = entry.at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    head = f"<{_PRIORITY}>1 {at} {_name(host, _HOST_MAX)} fluxa - {_name(entry.action, _MESSAGE_ID_MAX)} - ".encode()
    message = head + line_of(entry)
    if len(message) <= max_bytes:
        return message
    left_out = {"left_out_bytes": len(entry.detail.encode("utf-8", "surrogatepass"))}
    return head + json.encode(
        {
            "line": "entry",
            "tenant": entry.tenant,
            "number": entry.number,
            "at": entry.at,
            "actor": entry.actor[:100],
            "action": entry.action[:100],
            "subject": entry.subject[:100],
            "detail": left_out,
            "hash": entry.hash.hex(),
        }
    )


def _name(text: str, length: int) -> str:
    """A text as a field of the head: visible ASCII, or the dash that says there is nothing."""
    return _NOT_PRINTABLE.sub("_", text)[:length] or "-"
