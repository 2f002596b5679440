"""Brings role bindings to the process that checks callers by them. Not: who may change them (the route table)."""

from typing_extensions import override

from fluxa.kernel.clock import Clock
from fluxa.postgres.listen import Following, Listener
from fluxa.telemetry.catalogue import Hook, RoleBindingChanged
from fluxa.web.identity.access import Access
from fluxa.web.identity.bindings.rules import RoleBinding
from fluxa.web.identity.bindings.store import TOPIC, Bindings


class BindingWatch(Following):
    """Tells `Access` what is bound, from its start on. A `Service`.

    While the database is out, what was known last holds: a route that was tightened stays so.
    """

    def __init__(
        self,
        bindings: Bindings,
        access: Access,
        *,
        listener: Listener | None,
        clock: Clock,
        hook: Hook,
        period_s: float = 2.0,
    ) -> None:
        super().__init__("role_bindings", TOPIC, listener=listener, clock=clock, hook=hook, period_s=period_s)
        self._bindings = bindings
        self._access = access
        self._hook = hook
        self._known: dict[str, RoleBinding] = {}

    @override
    async def look(self) -> None:
        """Learn what is bound now, and tell what changed."""
        found = {one.route: one for one in await self._bindings.all()}
        known, self._known = self._known, found
        self._access.bind({route: frozenset(one.roles) for route, one in found.items()})
        for route, one in found.items():
            if route not in known or known[route].roles != one.roles:
                self._hook(RoleBindingChanged(route, tuple(one.roles), one.changed_by))
        for route in known.keys() - found.keys():
            self._hook(RoleBindingChanged(route, None))
