"""Feature flags: new or risky logic is switched off, and on again, while everything runs (HARDEN-9)."""

from fluxa.operations.flags.flag import INGEST_PACKING, KNOWN, Flag, FlagView
from fluxa.operations.flags.store import Flags
from fluxa.operations.flags.watch import FlagWatch

__all__ = ["INGEST_PACKING", "KNOWN", "Flag", "FlagView", "FlagWatch", "Flags"]
