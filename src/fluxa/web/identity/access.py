"""Which roles a route lets in: those of its row, or those that the bindings name instead (SEC-2). No I/O."""

from collections.abc import Mapping

from fluxa.auth.principal import Principal, Reason, forbidden
from fluxa.auth.roles import Role
from fluxa.kernel.ids import Tenant
from fluxa.web.routes import Route


class Access:
    """Says who may call what, in one process.

    Args of the constructor: `platform` is the tenant that runs the installation.
    """

    def __init__(self, platform: Tenant) -> None:
        self._platform = platform
        self._bindings: Mapping[str, frozenset[Role]] = {}

    def bind(self, bindings: Mapping[str, frozenset[Role]]) -> None:
        """From now on these roles count for the routes named, and for all others those of their rows."""
        self._bindings = dict(bindings)

    def roles(self, route: Route) -> frozenset[Role]:
        """Who may call it now."""
        return self._bindings.get(route.name, route.terms.roles)

    def check(self, route: Route, principal: Principal) -> None:
        """Let a caller pass.

        Raises:
            FluxaError: `Forbidden`, saying what it takes.
        """
        terms = route.terms
        if terms.platform and principal.tenant != self._platform:
            raise forbidden(Reason.TENANT, f"{route.name} acts on what all tenants share: it takes the default tenant.")
        roles = self.roles(route)
        if principal.role not in roles:
            raise forbidden(
                Reason.ROLE,
                f"{route.name} takes one of the roles {', '.join(sorted(roles)) or '(none)'}; "
                f"this credential has {principal.role}.",
            )
        if principal.scopes is not None and terms.scope not in principal.scopes:
            needed = f"the scope {terms.scope}" if terms.scope is not None else "a key without scopes"
            raise forbidden(
                Reason.SCOPE,
                f"{route.name} takes {needed}; this key is narrowed to {', '.join(sorted(principal.scopes))}.",
            )
