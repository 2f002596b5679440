"""How processes keep the audit log and tenants safe: what anchors, verifies, checks. Not: how (fluxa.operations)."""

from fluxa.apps.engines import anchor_store
from fluxa.apps.serving.ground import Ground
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.checks.routine import RoutineCheck
from fluxa.operations.ledger.anchoring import Anchoring
from fluxa.operations.ledger.anchors import Anchors
from fluxa.operations.ledger.watch import LedgerCheck
from fluxa.operations.tenants.check import TenantCheck
from fluxa.queue.health.reports import worker_id


def ledger_anchoring(on: Ground) -> Anchoring:
    """What keeps anchors, as often as the settings say.

    Raises:
        FluxaError: `Configuration` for a URL that names no store.
    """
    return Anchoring(
        on.ledger,
        Anchors(anchor_store(on.settings, on.rotation)),
        clock=on.clock,
        hook=on.told.hook,
        period_s=on.settings.audit_anchor_period_s,
    )


def integrity_checks(on: Ground) -> tuple[RoutineCheck, ...]:
    """What finds out whether the audit log is whole and tenants are kept apart, as often as the settings say.

    Raises:
        FluxaError: `Configuration` for a URL that names no store.
    """
    settings, holder = on.settings, worker_id("checks")
    ledger = LedgerCheck(
        on.database,
        Anchors(anchor_store(settings)).all,
        clock=on.clock,
        whole_every_s=settings.audit_verify_whole_s,
    )
    return (
        RoutineCheck(
            "ledger",
            ledger,
            on.database,
            holder=holder,
            code=ErrorCode.HASH_MISMATCH,
            clock=on.clock,
            hook=on.told.hook,
            every_s=settings.audit_verify_period_s,
        ),
        RoutineCheck(
            "tenants",
            TenantCheck(on.database),
            on.database,
            holder=holder,
            code=ErrorCode.DB_REJECTED,
            clock=on.clock,
            hook=on.told.hook,
            every_s=settings.tenants_check_period_s,
        ),
    )
