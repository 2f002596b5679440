"""Request keys: a request that comes twice is done once. Not: which routes take them."""

from fluxa.web.idempotency.keys import KeyLimits, RequestKeys, fingerprint, key_of

__all__ = ["KeyLimits", "RequestKeys", "fingerprint", "key_of"]
