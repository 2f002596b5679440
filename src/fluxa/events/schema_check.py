"""What the door and the processor ask alike: does this data fit the schema of its type? `schemas.py` answers."""

from typing import Protocol

from fluxa.events.event import Event


class SchemaCheck(Protocol):
    """Checks the data of an event against the schema its tenant registered for its type (PIPE-2)."""

    async def check(self, event: Event, data: bytes | None) -> None:
        """Return if the data fits, or if no schema applies.

        Args:
            event: whose type and tenant choose the schema; its own `data` may be None where the
                data is in the object store.
            data: the bytes to check; None if the event has none.

        Raises:
            FluxaError: `SchemaValidation`, the pointer beginning with `/data`.
        """
        ...


class AnyData:
    """A `SchemaCheck` for those who register no schemas: all data fits."""

    async def check(self, event: Event, data: bytes | None) -> None:
        """Return at once."""
