"""Lets a process follow feature flags. Not: how handlers ask them (the worker says so to OpenFeature)."""

from fluxa.apps.serving.ground import Ground
from fluxa.kernel.ids import Tenant
from fluxa.operations.flags import Flags, FlagWatch


async def follow_flags(on: Ground) -> FlagWatch:
    """How flags stand, for as long as the process lives.

    Raises:
        FluxaError: an outage: who does not know must not begin.
    """
    watch = FlagWatch(flags_of(on), listener=on.listener, clock=on.clock, hook=on.told.hook)
    await on.life.start(watch)
    return watch


def flags_of(on: Ground) -> Flags:
    """What flags are set to, and what sets them."""
    return Flags(on.database, on.ledger, Tenant(on.settings.default_tenant))
