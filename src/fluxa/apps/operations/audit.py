"""How processes keep the audit log safe: what anchors it. Not: the audit log itself (fluxa.operations.ledger)."""

from fluxa.apps.engines import anchor_store
from fluxa.apps.serving.ground import Ground
from fluxa.operations.ledger.anchoring import Anchoring
from fluxa.operations.ledger.anchors import Anchors


def ledger_anchoring(on: Ground) -> Anchoring:
    """What keeps anchors, as often as the settings say.

    Raises:
        FluxaError: `Configuration` for a URL that names no store.
    """
    return Anchoring(
        on.ledger,
        Anchors(anchor_store(on.settings)),
        clock=on.clock,
        hook=on.told.hook,
        period_s=on.settings.audit_anchor_period_s,
    )
