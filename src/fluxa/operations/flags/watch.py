"""Brings flags to the process whose code asks them. Not: who may set them (the command)."""

from typing_extensions import override

from fluxa.kernel.clock import Clock
from fluxa.operations.flags.flag import Flag, FlagView
from fluxa.operations.flags.store import TOPIC, Flags
from fluxa.postgres.listen import Following, Listener
from fluxa.telemetry.catalogue import FlagChanged, Hook


class FlagWatch(Following):
    """Knows how flags stand, from its start on; to ask costs a look into a dictionary. A `Service`.

    While the database is out, what was known last holds.
    """

    def __init__(
        self, flags: Flags, *, listener: Listener | None, clock: Clock, hook: Hook, period_s: float = 2.0
    ) -> None:
        super().__init__("flags", TOPIC, listener=listener, clock=clock, hook=hook, period_s=period_s)
        self._flags = flags
        self._hook = hook
        self._known: dict[str, FlagView] = {}

    def given(self, name: str) -> bool | None:
        """What a flag was set to; None if nobody has set it."""
        found = self._known.get(name)
        return None if found is None else found.is_on

    def is_on(self, flag: Flag) -> bool:
        """Whether one of Fluxa's own is on."""
        given = self.given(flag.name)
        return flag.default if given is None else given

    @override
    async def look(self) -> None:
        """Learn how flags stand now, and tell what changed."""
        known, self._known = self._known, await self._flags.given()
        for name, flag in self._known.items():
            if name not in known or known[name].is_on != flag.is_on:
                self._hook(FlagChanged(name, flag.is_on, flag.changed_by, flag.reason))
        for name in known.keys() - self._known.keys():
            self._hook(FlagChanged(name, None))
