"""Builds the login through an OpenID provider, where the settings name one. Not: the login (auth), its routes."""

from typing import TYPE_CHECKING

import httpx

from fluxa.apps.serving.ground import Ground
from fluxa.apps.serving.people import People
from fluxa.apps.settings import Settings
from fluxa.auth.people.oidc.entry import OutsideLogins
from fluxa.auth.people.oidc.flows import Flows
from fluxa.auth.roles import Role
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.station.identity.outside import Outside

if TYPE_CHECKING:
    from fluxa.auth.people.oidc.provider import OidcProvider


def provider_of(settings: Settings, issuer: str, client: httpx.AsyncClient, clock: Clock) -> "OidcProvider":
    """The provider that the settings name; the caller closes the client.

    Raises:
        FluxaError: `Configuration`, if the extra is not installed.
    """
    try:
        from fluxa.auth.people.oidc.provider import OidcProvider, OidcTerms  # noqa: PLC0415 - an extra: see below
    except ImportError:
        raise FluxaError(
            ErrorCode.CONFIGURATION, "oidc_issuer is set, but Authlib is not there: pip install 'fluxa[oidc]'."
        ) from None
    terms = OidcTerms(issuer, settings.oidc_client_id, settings.oidc_redirect_url)
    return OidcProvider(terms, settings.oidc_client_secret, client, clock=clock)


def open_outside(on: Ground, people: People) -> Outside | None:
    """The login through the provider; None, where the settings name none.

    Raises:
        FluxaError: `Configuration`, if the extra is not installed.
    """
    settings = on.settings
    if settings.oidc_issuer is None:
        return None
    client = httpx.AsyncClient(follow_redirects=False, trust_env=False)
    on.life.on_stop(client.aclose)
    provider = provider_of(settings, settings.oidc_issuer, client, on.clock)

    async def use(changed: Settings) -> None:
        provider.use(changed.oidc_client_secret)

    on.rotation.on_change(["oidc_client_secret"], use)
    role = settings.oidc_default_role
    logins = OutsideLogins(
        on.database,
        users=people.users,
        logins=people.logins,
        audit=on.ledger,
        clock=on.clock,
        tenant=Tenant(settings.default_tenant),
        role=None if role is None else Role(role),
    )
    return Outside(provider, Flows(on.database, on.clock), logins, settings.oidc_issuer, settings.oidc_redirect_url)
