"""Who sends a request, one file a kind of credential. Not: where keys, secrets and nonces are kept (auth)."""

from fluxa.web.identity.access import Access
from fluxa.web.identity.bearer import Identify, VerifyToken, bearer, either
from fluxa.web.identity.guard import Admitted, Approach, Guard
from fluxa.web.identity.webhook import Delivery, delivery_of
from fluxa.web.identity.webhook_receipts import Receipts, once

__all__ = [
    "Access",
    "Admitted",
    "Approach",
    "Delivery",
    "Guard",
    "Identify",
    "Receipts",
    "VerifyToken",
    "bearer",
    "delivery_of",
    "either",
    "once",
]
