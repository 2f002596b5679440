"""Who sends a request, one file a kind of credential. Not: where keys, secrets and nonces are kept (auth)."""

from fluxa.web.identity.access import Access
from fluxa.web.identity.bearer import Identify, VerifyToken, bearer
from fluxa.web.identity.guard import Admitted, Approach, Guard

__all__ = ["Access", "Admitted", "Approach", "Guard", "Identify", "VerifyToken", "bearer"]
