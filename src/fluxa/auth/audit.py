"""What is written down when rights change or somebody acts. Not: how it is kept from being altered (the ledger)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fluxa.kernel.ids import Tenant
from fluxa.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done.

    Attributes:
        tenant: in whose ledger it belongs.
        actor: who did it: `user:ID`, `key:ID`, `cli:USER`, `cron`, `system`.
        action: what, as `noun.verb` in the past: `session.revoked`, `binding.changed`.
        subject: to what, as `noun:id`.
        detail: more of it, as JSON; never a secret.
        correlation_id: the request or run it was part of.
    """

    tenant: Tenant
    actor: str
    action: str
    subject: str
    detail: Mapping[str, object] = field(default_factory=dict)
    correlation_id: str = ""


class Audit(Protocol):
    """Writes acts down (SEC-3)."""

    async def record(self, tx: Transaction, act: Act) -> None:
        """Write it down in the transaction that does it: both are there, or neither.

        Raises:
            FluxaError: an outage; the act must then not be done either.
        """
        ...
