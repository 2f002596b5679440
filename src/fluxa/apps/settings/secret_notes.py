"""What the settings say about a secret besides its value: who replaces it, and when it ends (GATE-4)."""

import datetime as dt
from typing import Any

import msgspec


class SecretNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What people know of a secret.

    Attributes:
        owner: who replaces it.
        expires: the day from which it is not valid any more.
    """

    owner: str = ""
    expires: dt.date | None = None

    def shown(self) -> dict[str, Any]:
        """The same for people; nothing of it is secret."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return shown
