"""Judges what the server says of tenants: what lets one see another's rows, and what shuts one out of his own. Pure."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

POLICY = (
    "tenant permissive * {fluxa_tenant} (tenant = NULLIF(current_setting('fluxa.tenant'::text, true), ''::text)) "
    "(tenant = NULLIF(current_setting('fluxa.tenant'::text, true), ''::text))"
)
"""The one policy of a table with a tenant, as the server writes it out."""

GRANTS: Mapping[str, frozenset[str]] = {
    "events": frozenset({"select"}),
    "idempotency_keys": frozenset({"select"}),
    "failures": frozenset({"select"}),
    "request_keys": frozenset({"select", "insert", "update", "delete"}),
    "schemas": frozenset({"select", "insert", "update", "delete"}),
}
"""What those who act for a tenant may do; on all other tables and views: nothing."""


class Kind(enum.StrEnum):
    """Which way it is broken."""

    LEAK = "leak"
    """One tenant may see or change what is another's, or more than it needs."""
    LOCK_OUT = "lock-out"
    """Somebody is refused what is his."""


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it must be.

    Attributes:
        kind: which way it is broken.
        what: the table, or the role.
        detail: what is wrong with it.
        action: what mends it.
    """

    kind: Kind
    what: str
    detail: str
    action: str


def judge_role(role: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What is wrong with the role; None: there is none."""
    name = "role fluxa_tenant"
    if role is None:
        yield Finding(
            Kind.LOCK_OUT, name, "does not exist", "run: create role fluxa_tenant nologin noinherit, then its grants"
        )
        return
    if not role["taken"]:
        yield Finding(
            Kind.LOCK_OUT,
            name,
            f"{role['login_name']} may not take it",
            f"run: grant fluxa_tenant to {role['login_name']}",
        )
    for wrong, detail, action in (
        (role["super"], "is a superuser", "run: alter role fluxa_tenant nosuperuser"),
        (role["bypass"], "bypasses row-level security", "run: alter role fluxa_tenant nobypassrls"),
        (role["login"], "can log in", "run: alter role fluxa_tenant nologin"),
        (role["creates"], "may create in the schema fluxa", "run: revoke create on schema fluxa from fluxa_tenant"),
    ):
        if wrong:
            yield Finding(Kind.LEAK, name, detail, action)
    for parent in role["parents"]:
        yield Finding(Kind.LEAK, name, f"has the rights of {parent}", f"run: revoke {parent} from fluxa_tenant")
    for owned in role["owned"]:
        yield Finding(Kind.LEAK, name, f"owns {owned}", f"run: alter table {owned} owner to the owner of the others")
    for definer in role["definers"]:
        action = f"run: revoke execute on function {definer} from public, fluxa_tenant"
        yield Finding(Kind.LEAK, name, f"may call {definer}, which runs as its owner", action)
    if "pgmq" in role["schemas"]:
        yield Finding(
            Kind.LEAK, name, "may enter the schema of queues", "run: revoke usage on schema pgmq from fluxa_tenant"
        )
    if "fluxa" not in role["schemas"]:
        action = "run: grant usage on schema fluxa to fluxa_tenant"
        yield Finding(Kind.LOCK_OUT, name, "may not enter the schema fluxa", action)


def judge_table(table: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with a table or view."""
    name = f"fluxa.{table['name']}"
    if table["tenants"] and table["secured"] is False and table["name"] != "events_json":
        detail = "has no row-level security"
        yield Finding(Kind.LEAK, name, detail, f"run: alter table {name} enable row level security")
    expected = [POLICY] if table["tenants"] and not table["part"] and table["name"] != "events_json" else []
    if list(table["policies"]) != expected:
        kind = Kind.LEAK if table["policies"] else Kind.LOCK_OUT
        action = f"run: select fluxa.keep_apart('{name}')" if expected else f"drop the policies of {name}"
        yield Finding(kind, name, _told(table["policies"]), action)
    if table["binds_login"]:
        detail = "row-level security binds the login itself: what serves all tenants sees nothing"
        action = f"let the login own it, and: alter table {name} no force row level security"
        yield Finding(Kind.LOCK_OUT, name, detail, action)
    may, needs = set(table["granted"]), GRANTS.get(table["name"], frozenset())
    for right in sorted(may - needs):
        yield Finding(
            Kind.LEAK, name, f"{right} is granted", f"run: revoke {right} on {name} from fluxa_tenant, public"
        )
    for right in sorted(needs - may):
        yield Finding(Kind.LOCK_OUT, name, f"{right} is not granted", f"run: grant {right} on {name} to fluxa_tenant")


def judge_canary(table: str, tenant: str, seen: Sequence[str], *, written: bool) -> Iterator[Finding]:
    """What a tenant saw of two tenants' rows."""
    name = f"fluxa.{table}"
    if set(seen) - {tenant}:
        detail = "one tenant really read what another wrote"
        yield Finding(Kind.LEAK, name, detail, f"run: select fluxa.keep_apart('{name}'), then check again")
    if written and tenant not in seen:
        detail = "a tenant does not see what it wrote"
        yield Finding(Kind.LOCK_OUT, name, detail, f"run: select fluxa.keep_apart('{name}'), then check again")


def _told(policies: Sequence[str]) -> str:
    return (
        "has other policies than it should: " + "; ".join(policies) if policies else "has no policy: it shows nothing"
    )
