"""Builds what knows callers, by API key or access token, and what their roles may. Not: who is logged in (sessions)."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from fluxa.apps.settings import Settings, listed
from fluxa.auth.audit import Audit
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.keys.key_watch import KeyUse, KeyWatch
from fluxa.auth.tokens import PURPOSE, AccessTokens, KeyRing, LiveSessions, Names, Sealer, SigningKeys
from fluxa.auth.tokens.issuers import HttpKeys, IssuerTerms, OutsideIssuer
from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.catalogue import Hook
from fluxa.web.identity import Access, Identify, bearer, either
from fluxa.web.identity.bindings import Bindings, BindingWatch


@dataclass(frozen=True, slots=True)
class Identity:
    """What knows callers.

    Attributes:
        identify: who a caller is, by API key or access token.
        tokens: makes and checks access tokens.
        ring: the keys that sign them.
        sealer: hides their private parts.
        caches: what its caches count, by name.
    """

    identify: Identify
    tokens: AccessTokens
    ring: KeyRing
    sealer: Sealer
    caches: Mapping[str, CacheCount]


def sealing(settings: Settings) -> list[bytes]:
    """The secrets of `secret_key`, newest first."""
    return [secret.encode() for secret in listed(settings.secret_key)]


def signing_keys(
    settings: Settings, database: Database, *, audit: Audit | None = None, sealer: Sealer | None = None
) -> SigningKeys:
    """The keys that sign access tokens, sealed by `secret_key`."""
    sealer = sealer or Sealer(sealing(settings), PURPOSE)
    return SigningKeys(database, sealer, tenant=Tenant(settings.default_tenant), audit=audit)


async def open_identity(
    life: Lifetime,
    settings: Settings,
    database: Database,
    listener: Listener,
    sessions: LiveSessions,
    *,
    clock: Clock,
    hook: Hook,
    audit: Audit,
) -> Identity:
    """Know callers from now on, until `life` stops.

    Raises:
        FluxaError: an outage.
    """
    sealer = Sealer(sealing(settings), PURPOSE)
    keys = signing_keys(settings, database, audit=audit, sealer=sealer)
    ring = KeyRing(keys, listener=listener, clock=clock, hook=hook)
    await life.start(ring)
    outside = CacheCount()
    tokens = AccessTokens(
        ring,
        sessions,
        names=Names(settings.jwt_issuer, settings.jwt_audience),
        clock=clock,
        hook=hook,
        issuers=_issuers(life, settings, clock, outside),
    )
    api_keys = ApiKeys(database, clock=clock)
    guard = KeyGuard(api_keys, clock)
    await life.start(KeyWatch(guard, api_keys, listener=listener, clock=clock, hook=hook))
    await life.start(KeyUse(guard, api_keys, clock=clock, hook=hook))
    caches = {"api_keys": guard.count, "access_tokens": tokens.count}
    if settings.jwt_issuers:
        caches["issuer_keys"] = outside
    return Identity(bearer(either(guard.verify, tokens.verify)), tokens, ring, sealer, caches)


def _issuers(life: Lifetime, settings: Settings, clock: Clock, count: CacheCount) -> dict[str, OutsideIssuer]:
    """Others whose tokens are accepted; their keys are fetched when the first token comes."""
    if not settings.jwt_issuers:
        return {}
    client = httpx.AsyncClient(follow_redirects=False, trust_env=False)
    life.on_stop(client.aclose)
    return {
        one.issuer: OutsideIssuer(
            IssuerTerms(
                issuer=one.issuer,
                audience=one.audience,
                tenant=one.tenant,
                tenant_claim=one.tenant_claim,
                role_claim=one.role_claim,
                roles=one.roles,
            ),
            HttpKeys(client, one.jwks_url, timeout_s=one.timeout_s),
            clock=clock,
            count=count,
        )
        for one in settings.jwt_issuers.values()
    }


async def open_access(
    life: Lifetime,
    settings: Settings,
    database: Database,
    listener: Listener,
    audit: Audit,
    *,
    clock: Clock,
    hook: Hook,
) -> Access:
    """Know which roles may call what, changes included, until `life` stops.

    Raises:
        FluxaError: an outage: who does not know what is bound must not let anybody in.
    """
    platform = Tenant(settings.default_tenant)
    access = Access(platform)
    bindings = Bindings(database, audit, platform)
    await life.start(BindingWatch(bindings, access, listener=listener, clock=clock, hook=hook))
    return access
