"""Webhooks: whether a provider sent exactly these bytes, one file a scheme. No I/O; not: what they mean."""

from fluxa.auth.webhooks.message import Message, Scheme, Verified, WebhookRefusedError
from fluxa.auth.webhooks.schemes import SchemeName, open_scheme

__all__ = ["Message", "Scheme", "SchemeName", "Verified", "WebhookRefusedError", "open_scheme"]
