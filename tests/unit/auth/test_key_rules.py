"""What a secret is worth for the key it names, and what scopes narrow a key to."""

import datetime as dt
import itertools

import pytest

from fluxa.auth import scopes
from fluxa.auth.keys.rules import StoredKey, Verdict, judged
from fluxa.auth.principal import DeniedError, Principal, Reason
from fluxa.auth.roles import EVERY_ROLE, Role
from fluxa.auth.scopes import GRANTED, Scope
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.web.identity.access import Access
from fluxa.web.routes import Auth, Bucket, Call, Operation, Receive, Route, Send, Terms
from fluxa.web.routes import Scope as Asgi

pytestmark = pytest.mark.req("SEC-2", "STATION-auth")

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PAST, FUTURE = NOW - dt.timedelta(seconds=1), NOW + dt.timedelta(seconds=1)
NEW, OLD, OTHER = b"n" * 32, b"o" * 32, b"x" * 32


def stored(
    *,
    expires_at: dt.datetime | None = None,
    old_until: dt.datetime | None = None,
    scopes: frozenset[Scope] | None = None,
    disabled: bool = False,
) -> StoredKey:
    return StoredKey(
        tenant=Tenant("acme"),
        name="ci",
        role=Role.ADMIN,
        hash=NEW,
        scopes=scopes,
        expires_at=expires_at,
        old_hash=None if old_until is None else OLD,
        old_until=old_until,
        account="billing" if disabled else "",
        is_disabled=disabled,
    )


@pytest.mark.parametrize("digest", [NEW, OLD, OTHER])
@pytest.mark.parametrize("expires_at", [None, PAST, NOW, FUTURE])
@pytest.mark.parametrize("old_until", [None, PAST, NOW, FUTURE])
@pytest.mark.parametrize("disabled", [False, True])
def test_only_a_right_secret_in_its_time_passes_and_only_a_right_one_is_told_why_not(
    digest: bytes,
    expires_at: dt.datetime | None,
    old_until: dt.datetime | None,
    disabled: bool,  # noqa: FBT001 - a case
) -> None:
    found = judged(stored(expires_at=expires_at, old_until=old_until, disabled=disabled), digest, NOW)
    was_right = digest == NEW or (digest == OLD and old_until is not None)
    in_time = expires_at in {None, FUTURE} and (digest == NEW or old_until == FUTURE)
    assert (found is Verdict.UNKNOWN) == (not was_right)
    assert (found is Verdict.PASSES) == (was_right and in_time and not disabled)
    if was_right and disabled:
        assert found is Verdict.DISABLED


async def _nothing(_call: Call, _scope: Asgi, _receive: Receive, _send: Send) -> None:
    """Nobody calls it."""


def _row(scope: Scope | None) -> Route:
    terms = Terms(Bucket.QUERY, EVERY_ROLE, scope=scope)
    return Route("row", "/row", ("GET",), Auth.BEARER, _nothing, Operation("row"), terms)


@pytest.mark.parametrize(("needed", "given"), [*itertools.product([*Scope, None], [*sorted(GRANTED), None])])
def test_a_narrowed_key_passes_where_its_scope_is_asked_for_and_where_only_itself_is_concerned(
    needed: Scope | None, given: Scope | None
) -> None:
    who = stored(scopes=None if given is None else frozenset({given})).principal("key")
    access = Access(Tenant("default"))
    if given is None or needed in {given, Scope.OWN}:
        access.check(_row(needed), who)
        return
    with pytest.raises(DeniedError) as refused:
        access.check(_row(needed), who)
    assert refused.value.reason is Reason.SCOPE


def test_a_scope_gives_nothing_that_the_role_does_not() -> None:
    route = _row(Scope.AUDIT_READ)
    narrow = Terms(Bucket.QUERY, frozenset({Role.ADMIN}), scope=Scope.AUDIT_READ)
    route = Route(route.name, route.path, route.methods, route.auth, route.endpoint, route.operation, narrow)
    who = Principal(Tenant("acme"), "ci", Role.ANALYST, scopes=frozenset({Scope.AUDIT_READ}))
    with pytest.raises(DeniedError) as refused:
        Access(Tenant("default")).check(route, who)
    assert refused.value.reason is Reason.ROLE


def test_scopes_are_named_as_they_are_listed() -> None:
    assert scopes.asked([]) is None
    assert scopes.asked(["events:write", "events:read"]) == frozenset({Scope.EVENTS_WRITE, Scope.EVENTS_READ})
    for name in ("events", "EVENTS:WRITE", "own", "", "*"):
        with pytest.raises(FluxaError, match="is no scope"):
            scopes.asked(["events:read", name])


def test_a_scope_that_another_version_gave_opens_nothing_here() -> None:
    assert scopes.stored(None) is None
    assert scopes.stored(["moon:write", "events:read"]) == frozenset({Scope.EVENTS_READ})
    assert scopes.stored(["moon:write"]) == frozenset()
