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


LOGIN = "login"
"""How a finding names the login, as against a table or the role."""


class Kind(enum.StrEnum):
    """Which way it is broken."""

    LEAK = "leak"
    """One tenant may see or change what is another's, or more than it needs."""
    LOCK_OUT = "lock-out"
    """Somebody is refused what is his."""


class Verb(enum.StrEnum):
    """What mends something; `repair.sql` has the statement for each."""

    CREATE_ROLE = "create_role"
    TAKE_ROLE = "take_role"
    NO_SUPERUSER = "no_superuser"
    NO_BYPASS = "no_bypass"
    NO_LOGIN = "no_login"
    REVOKE_CREATE = "revoke_create"
    REVOKE_ROLE = "revoke_role"
    GIVE_BACK = "give_back"
    REVOKE_FUNCTION = "revoke_function"
    REVOKE_QUEUES = "revoke_queues"
    GRANT_SCHEMA = "grant_schema"
    SECURE = "secure"
    KEEP_APART = "keep_apart"
    DROP_POLICY = "drop_policy"
    NO_FORCE = "no_force"
    REVOKE = "revoke"
    GRANT = "grant"


class Step(msgspec.Struct, frozen=True):
    """One statement that mends something.

    Attributes:
        verb: which.
        target: the table, role or function that it is about; empty if there is one only.
        what: the right or the policy.
    """

    verb: Verb
    target: str = ""
    what: str = ""


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it must be.

    Attributes:
        kind: which way it is broken.
        what: the table, or the role.
        detail: what is wrong with it.
        action: what mends it.
        steps: the same for `fluxa tenants repair`; empty for what only an administrator can decide.
    """

    kind: Kind
    what: str
    detail: str
    action: str
    steps: tuple[Step, ...] = ()


def judge_role(role: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What is wrong with the role; None: there is none."""
    name = "role fluxa_tenant"
    if role is None:
        steps = (Step(Verb.CREATE_ROLE), Step(Verb.TAKE_ROLE))
        action = "run: create role fluxa_tenant nologin noinherit, then its grants"
        yield Finding(Kind.LOCK_OUT, name, "does not exist", action, steps)
        return
    if not role["taken"]:
        detail = f"{role['login_name']} may not take it"
        yield Finding(
            Kind.LOCK_OUT, name, detail, f"run: grant fluxa_tenant to {role['login_name']}", (Step(Verb.TAKE_ROLE),)
        )
    for wrong, detail, action, verb in (
        (role["super"], "is a superuser", "run: alter role fluxa_tenant nosuperuser", Verb.NO_SUPERUSER),
        (role["bypass"], "bypasses row-level security", "run: alter role fluxa_tenant nobypassrls", Verb.NO_BYPASS),
        (role["login"], "can log in", "run: alter role fluxa_tenant nologin", Verb.NO_LOGIN),
        (
            role["creates"],
            "may create in the schema fluxa",
            "run: revoke create on schema fluxa from fluxa_tenant",
            Verb.REVOKE_CREATE,
        ),
    ):
        if wrong:
            yield Finding(Kind.LEAK, name, detail, action, (Step(verb),))
    yield from _belongings(name, role)


def _belongings(name: str, role: Mapping[str, Any]) -> Iterator[Finding]:
    """What the role has, or has not, that it should not, or should."""
    for parent in role["parents"]:
        step = Step(Verb.REVOKE_ROLE, parent)
        yield Finding(
            Kind.LEAK, name, f"has the rights of {parent}", f"run: revoke {parent} from fluxa_tenant", (step,)
        )
    for owned in role["owned"]:
        action = f"run: alter table {owned} owner to the owner of the others"
        yield Finding(Kind.LEAK, name, f"owns {owned}", action, (Step(Verb.GIVE_BACK, owned),))
    for definer in role["definers"]:
        action = f"run: revoke execute on function {definer} from public, fluxa_tenant"
        step = Step(Verb.REVOKE_FUNCTION, definer)
        yield Finding(Kind.LEAK, name, f"may call {definer}, which runs as its owner", action, (step,))
    if "pgmq" in role["schemas"]:
        action = "run: revoke usage on schema pgmq from fluxa_tenant"
        yield Finding(Kind.LEAK, name, "may enter the schema of queues", action, (Step(Verb.REVOKE_QUEUES),))
    if "fluxa" not in role["schemas"]:
        action = "run: grant usage on schema fluxa to fluxa_tenant"
        yield Finding(Kind.LOCK_OUT, name, "may not enter the schema fluxa", action, (Step(Verb.GRANT_SCHEMA),))


def judge_login(login: str, tables: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether the login is one that row-level security binds, because it owns no table."""
    bound = [table for table in tables if table["binds_login"] and not table["owned"]]
    if bound:
        owner, first = bound[0]["owner"], ", ".join(f"fluxa.{table['name']}" for table in bound[:3])
        yield Finding(
            Kind.LOCK_OUT,
            f"{LOGIN} {login}",
            f"does not own the tables ({len(bound)}, such as {first}): row-level security binds the login itself, and "
            "what serves all tenants sees nothing",
            f"log in as {owner}, who owns them, or let an administrator run: grant {owner} to {login}",
        )


def judge_table(table: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with a table or view."""
    name = f"fluxa.{table['name']}"
    if table["tenants"] and table["secured"] is False and table["name"] != "events_json":
        detail = "has no row-level security"
        step = Step(Verb.SECURE, table["name"])
        yield Finding(Kind.LEAK, name, detail, f"run: alter table {name} enable row level security", (step,))
    expected = [POLICY] if table["tenants"] and not table["part"] and table["name"] != "events_json" else []
    if list(table["policies"]) != expected:
        kind = Kind.LEAK if table["policies"] else Kind.LOCK_OUT
        action = f"run: select fluxa.keep_apart('{name}')" if expected else f"drop the policies of {name}"
        dropped = tuple(Step(Verb.DROP_POLICY, table["name"], policy) for policy in table["policy_names"])
        steps = (Step(Verb.KEEP_APART, table["name"]),) if expected else dropped
        yield Finding(kind, name, _told(table["policies"]), action, steps)
    if table["binds_login"] and table["owned"]:
        detail = "row-level security is forced on its owner: what serves all tenants sees nothing"
        action = f"run: alter table {name} no force row level security"
        yield Finding(Kind.LOCK_OUT, name, detail, action, (Step(Verb.NO_FORCE, table["name"]),))
    may, needs = set(table["granted"]), GRANTS.get(table["name"], frozenset())
    for right in sorted(may - needs):
        action, step = (
            f"run: revoke {right} on {name} from fluxa_tenant, public",
            Step(Verb.REVOKE, table["name"], right),
        )
        yield Finding(Kind.LEAK, name, f"{right} is granted", action, (step,))
    for right in sorted(needs - may):
        action, step = f"run: grant {right} on {name} to fluxa_tenant", Step(Verb.GRANT, table["name"], right)
        yield Finding(Kind.LOCK_OUT, name, f"{right} is not granted", action, (step,))


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
