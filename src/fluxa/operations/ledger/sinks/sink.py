"""The port for places that take entries of the audit log. Not: what was sent there (cursors), or when (sending)."""

import enum
from collections.abc import Sequence
from typing import Protocol

from fluxa.operations.ledger.chain import Entry


class SinkKind(enum.StrEnum):
    """How a sink takes entries."""

    FILE = "file"
    HTTP = "http"
    SYSLOG = "syslog"


class Sink(Protocol):
    """A place that takes entries."""

    async def deliver(self, entries: Sequence[Entry]) -> None:
        """Deliver these, in this order; they have arrived when this returns.

        Entries that were delivered before may come again, after a crash or an answer that was lost: tenant and number
        name an entry.

        Raises:
            FluxaError: it is not known that all have arrived; they are delivered again.
        """
        ...
