"""Who is calling, once that is proved."""

from dataclasses import dataclass

from fluxa.kernel.ids import Tenant


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    Attributes:
        tenant: whose data it may touch.
        name: for logs; never a secret.
    """

    tenant: Tenant
    name: str
