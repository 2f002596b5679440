"""The settings of one other issuer of access tokens: whose word is taken for who somebody is (SEC-1)."""

import ipaddress
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import is_tenant

_Name = Annotated[str, Meta(min_length=1, max_length=2048)]


class JwtIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose tokens are accepted, and what they mean here.

    Attributes:
        issuer: what their `iss` says, letter by letter.
        audience: what their `aud` must name.
        jwks_url: where their keys are; https, except on this machine.
        tenant: whose data all of them open; empty where `tenant_claim` says it.
        tenant_claim: the claim that names the tenant, with dots into objects. One that users cannot change themselves.
        role_claim: the claim that names the role; likewise.
        roles: the role here for a value of that claim; who has none of them is not let in.
        timeout_s: seconds that fetching the keys may take.
    """

    issuer: _Name
    audience: _Name
    jwks_url: _Name
    roles: dict[str, Role]
    tenant: str = ""
    tenant_claim: str = ""
    role_claim: str = "role"
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0

    def shown(self) -> dict[str, Any]:
        """The same for people; nothing of it is secret."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return shown


def check_issuers(issuers: Mapping[str, JwtIssuer], *, own: str) -> None:
    """Refuse what cannot work, or would let anybody in.

    Raises:
        FluxaError: `Configuration`.
    """
    names = [own, *(one.issuer for one in issuers.values())]
    if len(set(names)) < len(names):
        raise FluxaError(ErrorCode.CONFIGURATION, "Two of jwt_issuer and jwt_issuers have the same issuer.")
    for name, one in issuers.items():
        if not is_safe(one.jwks_url):
            raise FluxaError(
                ErrorCode.CONFIGURATION,
                f"jwt_issuers.{name}: jwks_url must be https://host/path: whoever can change the keys on their way can "
                "be anybody.",
            )
        if bool(one.tenant) == bool(one.tenant_claim) or (one.tenant and not is_tenant(one.tenant)):
            raise FluxaError(
                ErrorCode.CONFIGURATION, f"jwt_issuers.{name} needs either a tenant, or a tenant_claim that names it."
            )


def is_safe(address: str) -> bool:
    """Whether nobody can change on its way what is fetched there."""
    url = urllib.parse.urlsplit(address)
    return bool(url.hostname) and not url.username and (url.scheme == "https" or _is_here(url))


def _is_here(url: urllib.parse.SplitResult) -> bool:
    try:
        return url.scheme == "http" and ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False
