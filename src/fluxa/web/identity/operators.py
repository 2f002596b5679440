"""Who may run the queues: by API key. Not: roles within a tenant, which there are none of yet."""

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.web.identity.bearer import Identify
from fluxa.web.identity.guard import Admitted, Approach, Guard


def operators(identify: Identify, tenant: Tenant) -> Guard:
    """Callers with an API key of the tenant that runs the installation.

    Queues carry the work of all tenants, so a key of any other tenant opens none of them. Roles are to come; until
    then every key of this tenant is an operator's.

    Args:
        identify: knows API keys.
        tenant: the default tenant.
    """

    async def guard(approach: Approach) -> Admitted:
        principal = await identify(approach.authorization)
        if principal.tenant != tenant:
            raise FluxaError(ErrorCode.FORBIDDEN, "Queues are run with API keys of the default tenant.")
        return Admitted(principal, approach.receive)

    return guard
