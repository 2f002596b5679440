"""Signals about feature flags."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlagChanged:
    """This process goes by another state of a flag from now on.

    Attributes:
        flag: its name.
        is_on: whether it is on; None: nobody sets it any more, and what the code says holds.
        by: who set it; empty where that is not known any more.
        reason: why.
    """

    flag: str
    is_on: bool | None
    by: str = ""
    reason: str = ""
