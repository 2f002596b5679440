"""Settings of tenants, logins and sessions. They are part of `Settings`, which the process reads."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
