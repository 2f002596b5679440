"""The schemes by name. Not: how each of them signs, or where secrets come from (apps)."""

import enum
from collections.abc import Sequence
from typing import assert_never

from fluxa.auth.webhooks.digest_of_body import GITHUB, VERCEL, DigestOfBody
from fluxa.auth.webhooks.discord import Discord
from fluxa.auth.webhooks.message import TOLERANCE_S, Scheme
from fluxa.auth.webhooks.shared_header import SharedHeader
from fluxa.auth.webhooks.standard import Standard
from fluxa.auth.webhooks.stripe import Stripe
from fluxa.auth.webhooks.template import HmacForm, Template
from fluxa.kernel.errors import ErrorCode, FluxaError


class SchemeName(enum.StrEnum):
    """How a sender proves itself."""

    STRIPE = "stripe"
    STANDARD = "standard"
    """Standard Webhooks: OpenAI, Polar and many more."""
    SVIX = "svix"
    """The same with headers that begin with `svix-`: Resend and whoever else sends through Svix."""
    SUPABASE = "supabase"
    """Supabase's auth hooks, which are Standard Webhooks; its database webhooks are `header`."""
    GITHUB = "github"
    VERCEL = "vercel"
    DISCORD = "discord"
    HEADER = "header"
    """A fixed header."""
    HMAC = "hmac"
    """HMAC in a form of its own."""


def open_scheme(
    name: SchemeName,
    secrets: Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    header: str = "X-Webhook-Secret",
    form: HmacForm | None = None,
) -> Scheme:
    """A scheme with its secrets.

    Args:
        name: which.
        secrets: those in force, newest first; several while they are rotated.
        tolerance_s: how far a timestamp may be from our clock, in seconds, to either side.
        header: for `header`: which.
        form: for `hmac`: how it is written.

    Raises:
        FluxaError: `Configuration` for no secret, or one that is not of its form.
    """
    if not secrets:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The webhook scheme {name} needs at least one secret.")
    scheme: Scheme
    match name:
        case SchemeName.STRIPE:
            scheme = Stripe(secrets, tolerance_s=tolerance_s)
        case SchemeName.STANDARD | SchemeName.SUPABASE:
            scheme = Standard(secrets, tolerance_s=tolerance_s)
        case SchemeName.SVIX:
            scheme = Standard(secrets, tolerance_s=tolerance_s, family=b"svix")
        case SchemeName.GITHUB:
            scheme = DigestOfBody(GITHUB, secrets)
        case SchemeName.VERCEL:
            scheme = DigestOfBody(VERCEL, secrets)
        case SchemeName.DISCORD:
            scheme = Discord(secrets, tolerance_s=tolerance_s)
        case SchemeName.HEADER:
            scheme = SharedHeader(secrets, header=header)
        case SchemeName.HMAC:
            scheme = Template(form or HmacForm(), secrets, tolerance_s=tolerance_s)
        case _:
            assert_never(name)
    return scheme
