"""What a flag is, and those that Fluxa itself has. Not: what they are set to (store)."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError

_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,99}\Z")


@dataclass(frozen=True, slots=True)
class Flag:
    """A switch that Fluxa's own code asks.

    Attributes:
        name: its name.
        default: what holds while nobody has set it.
        about: what it does, and when to turn it.
    """

    name: str
    default: bool
    about: str


INGEST_PACKING: Final = Flag(
    "ingest.packing",
    default=True,
    about="Ingest packs many events into one queue message. Off: one event a message, slower and simpler, for a "
    "program of yours that reads the queue and cannot unpack.",
)

KNOWN: Final = {flag.name: flag for flag in (INGEST_PACKING,)}
"""Fluxa's own flags, by name. Applications have others: any name may be set."""


class FlagView(msgspec.Struct, frozen=True):
    """A flag as it stands.

    Attributes:
        name: its name.
        is_on: whether it is on.
        about: what it does; empty for an application's own.
        changed_by: who set it; empty if nobody has.
        reason: why.
        changed_at: when.
    """

    name: str
    is_on: bool
    about: str = ""
    changed_by: str = ""
    reason: str = ""
    changed_at: dt.datetime | None = None


def checked(name: str) -> str:
    """The name of a flag.

    Raises:
        FluxaError: `InvalidRequest`, if no flag can be called so.
    """
    if _NAME.match(name) is None:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            "A flag's name begins with a small letter and goes on with up to 99 of a-z, 0-9, dot, dash and underscore.",
        )
    return name
