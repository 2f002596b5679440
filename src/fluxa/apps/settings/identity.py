"""Settings of tenants, logins and sessions. They are part of `Settings`, which the process reads."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fluxa.apps.settings.metrics import MetricsSettings
from fluxa.apps.settings.tables.issuers import JwtIssuer, check_issuers, is_safe
from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode, FluxaError

_SECRET = {"secret": True}
_SECRET_KEY_MIN = 32


class IdentitySettings(MetricsSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose it all is, how long people stay logged in, and where that is kept."""

    default_tenant: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\Z",
            description="Tenant of the local user's key, and of queue messages that other programs send.",
        ),
    ] = "default"
    session_store: Annotated[
        Literal["postgres", "valkey"],
        Meta(description="Where it is kept who is logged in: in Postgres or at valkey_url."),
    ] = "postgres"
    session_idle_s: Annotated[
        float, Meta(ge=60, le=31_536_000, description="A session that nobody uses for so long ends.")
    ] = 86400.0
    session_absolute_s: Annotated[
        float, Meta(ge=60, le=31_536_000, description="A session ends after this, however much it is used.")
    ] = 2_592_000.0
    access_token_ttl_s: Annotated[
        float,
        Meta(ge=30, le=3600, description="How long an access token is valid; then its bearer asks for a new one."),
    ] = 600.0
    secret_key: Annotated[
        str | None,
        Meta(
            description="Seals what the database keeps and nobody may read there: the keys that sign access tokens. At "
            "least 32 characters, the same for all processes; while it is replaced, new,old. fluxa up makes one.",
            extra=_SECRET,
        ),
    ] = None
    jwt_issuer: Annotated[
        str, Meta(min_length=1, max_length=200, description="Who makes this installation's access tokens: their iss.")
    ] = "fluxa"
    jwt_audience: Annotated[
        str, Meta(min_length=1, max_length=200, description="For whom they are made: their aud.")
    ] = "fluxa"
    oidc_issuer: Annotated[
        str | None,
        Meta(
            description="OpenID provider through which people log in too, as its tokens name it. None: by "
            "password only."
        ),
    ] = None
    oidc_client_id: Annotated[str, Meta(max_length=255, description="What that provider calls this installation.")] = ""
    oidc_client_secret: Annotated[
        str | None,
        Meta(description="Proves this installation to that provider. None: it asks for none.", extra=_SECRET),
    ] = None
    oidc_redirect_url: Annotated[
        str,
        Meta(
            max_length=2048,
            description="Where it sends browsers back to, as registered there: the station's /api/auth/oidc/callback.",
        ),
    ] = ""
    oidc_default_role: Annotated[
        str | None,
        Meta(
            description="Role of the users that are made, in default_tenant, for people whom the provider knows and "
            "nobody here. None: none is made."
        ),
    ] = None
    jwt_issuers: Annotated[
        dict[str, JwtIssuer],
        Meta(
            description="Others whose access tokens are accepted, a table each: issuer, audience, jwks_url, tenant or "
            "tenant_claim, role_claim, roles. In a variable: the same as JSON."
        ),
    ] = msgspec.field(default_factory=dict)


def check_identity(settings: IdentitySettings) -> None:
    """Refuse what could be guessed, and issuers that contradict each other."""
    for secret in (settings.secret_key or "").split(","):
        if settings.secret_key is not None and len(secret.strip()) < _SECRET_KEY_MIN:
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"secret_key has a secret of {len(secret.strip())} characters; it needs {_SECRET_KEY_MIN}. Make one "
                "with: openssl rand -hex 32",
            )
    _check_oidc(settings)
    check_issuers(settings.jwt_issuers, own=settings.jwt_issuer)


def _check_oidc(settings: IdentitySettings) -> None:
    if settings.oidc_issuer is None:
        return
    for name in ("oidc_client_id", "oidc_redirect_url"):
        if not getattr(settings, name):
            raise FluxaError(ErrorCode.CONFIGURATION, f"oidc_issuer is set, and {name} is not.")
    for name in ("oidc_issuer", "oidc_redirect_url"):
        if not is_safe(getattr(settings, name)):
            raise FluxaError(ErrorCode.CONFIGURATION, f"{name} must be https://host/path, except on this machine.")
    if settings.oidc_default_role is not None and settings.oidc_default_role not in set(Role):
        raise FluxaError(ErrorCode.CONFIGURATION, f"oidc_default_role is one of {', '.join(sorted(Role))}.")
