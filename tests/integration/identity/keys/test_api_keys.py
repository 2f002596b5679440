"""API keys in a real database, and the guard that remembers them."""

import asyncio

import pytest

from fluxa.auth.keys.api_keys import ApiKeys, split
from fluxa.auth.keys.key_guard import GuardLimits, KeyGuard
from fluxa.auth.keys.rules import StoredKey
from fluxa.auth.roles import Role
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError
from fluxa.postgres.pool import Database
from fluxa.testing.clock import ManualClock


class _Counted:
    """Looks keys up in the database, counting, and is away when told so."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self.lookups = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.through: set[str] = set()

    async def find(self, key_id: str) -> StoredKey | None:
        self.lookups += 1
        if key_id not in self.through:
            await self.gate.wait()
        if self.away:
            raise DatabaseUnavailableError("away")
        return await self._keys.find(key_id)


async def test_a_key_opens_its_tenant_and_its_secret_is_kept_nowhere(database: Database) -> None:
    keys = ApiKeys(database)
    made = await keys.create("acme", "ci", role=Role.ADMIN)
    guard = KeyGuard(keys, ManualClock())
    principal = await guard.verify(made.token)
    assert principal is not None
    assert (principal.tenant, principal.name) == ("acme", "ci")
    secret = made.token.split("_", 2)[2]
    row = await database.fetch_row("select * from fluxa.api_keys")
    assert row is not None
    assert secret not in str(dict(row))
    assert len(bytes(row["hash"])) == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token + "x",
        lambda token: token.upper(),
        lambda token: token.replace("fx_", "gx_"),
        lambda token: token[:20],
        lambda _token: "",
        lambda _token: "fx_0123456789abcdef_" + "x" * 43,
        lambda token: token + "\n",
    ],
)
async def test_a_token_that_is_not_exactly_right_opens_nothing(database: Database, change) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    keys = ApiKeys(database)
    made = await keys.create("acme", "ci", role=Role.ADMIN)
    guard = KeyGuard(keys, ManualClock())
    assert await guard.verify(change(made.token)) is None
    assert await guard.verify(made.token) is not None
    assert await guard.verify(change(made.token)) is None


async def test_tokens_are_unlike_and_have_256_random_bits(database: Database) -> None:
    keys = ApiKeys(database)
    tokens = [(await keys.create("acme", "x", role=Role.ADMIN)).token for _ in range(20)]
    assert len(set(tokens)) == 20
    assert all(split(token) is not None for token in tokens)


@pytest.mark.parametrize(
    ("tenant", "name"), [("Acme", "x"), ("", "x"), ("a b", "x"), ("acme", ""), ("acme", "x" * 201), ("acme", "a\n")]
)
async def test_names_that_are_none_are_refused(database: Database, tenant: str, name: str) -> None:
    with pytest.raises(FluxaError, match="InvalidRequest"):
        await ApiKeys(database).create(tenant, name, role=Role.ADMIN)


async def test_keys_are_listed_without_secrets_and_revoked_once(database: Database) -> None:
    keys = ApiKeys(database)
    first = await keys.create("acme", "one", role=Role.ADMIN)
    await keys.create("other", "two", role=Role.ADMIN)
    assert [key.name for key in await keys.list()] == ["one", "two"]
    assert [key.name for key in await keys.list("acme")] == ["one"]
    assert await keys.revoke(first.key.key_id)
    assert not await keys.revoke(first.key.key_id)
    assert (await keys.list("acme"))[0].revoked_at is not None


async def test_a_revoked_key_is_noticed_when_its_memory_is_no_longer_fresh(database: Database) -> None:
    keys, clock = ApiKeys(database), ManualClock()
    made = await keys.create("acme", "ci", role=Role.ADMIN)
    guard = KeyGuard(keys, clock)
    assert await guard.verify(made.token)
    await keys.revoke(made.key.key_id)
    clock.advance(29.9)
    assert await guard.verify(made.token)
    clock.advance(0.2)
    assert await guard.verify(made.token) is None


async def test_most_requests_need_no_lookup(database: Database) -> None:
    source, clock = _Counted(ApiKeys(database)), ManualClock()
    made = await ApiKeys(database).create("acme", "ci", role=Role.ADMIN)
    guard = KeyGuard(source, clock)
    for _ in range(100):
        await guard.verify(made.token)
        await guard.verify("fx_0123456789abcdef_" + "x" * 43)
    assert source.lookups == 2
    clock.advance(5.1)
    await guard.verify("fx_0123456789abcdef_" + "x" * 43)
    assert source.lookups == 3


async def test_many_requests_with_a_new_key_share_one_lookup(database: Database) -> None:
    source = _Counted(ApiKeys(database))
    made = await ApiKeys(database).create("acme", "ci", role=Role.ADMIN)
    guard = KeyGuard(source, ManualClock())
    principals = await asyncio.gather(*(guard.verify(made.token) for _ in range(50)))
    assert all(principals)
    assert source.lookups == 1


async def test_guessing_key_ids_uses_few_connections_and_bounded_memory(database: Database) -> None:
    source = _Counted(ApiKeys(database))
    source.gate.clear()
    guard = KeyGuard(source, ManualClock(), GuardLimits(lookups_max=2, absent_max=10))
    guesses = [asyncio.create_task(guard.verify(f"fx_{n:016x}_" + "x" * 43)) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.lookups == 2
    source.gate.set()
    assert await asyncio.gather(*guesses) == [None] * 100
    assert len(guard._absent) == 10


@pytest.mark.req("SEC-1", "HARDEN-5")
async def test_guessing_does_not_keep_a_revoked_key_in_use(database: Database) -> None:
    keys = ApiKeys(database)
    source = _Counted(keys)
    guard = KeyGuard(source, ManualClock(), GuardLimits(lookups_max=2, lookup_s=1.0))
    made = await keys.create("acme", "ci", role=Role.ADMIN)
    assert await guard.verify(made.token) is not None
    source.gate.clear()
    source.through.add(made.key.key_id)
    await keys.revoke(made.key.key_id)
    guard.doubt()
    guesses = [asyncio.create_task(guard.verify(f"fx_{n:016x}_" + "x" * 43)) for n in range(20)]
    await asyncio.sleep(0)  # they come first
    # Its look-up would have waited behind the guesses, and a look-up that takes too long is taken for an outage.
    assert await guard.verify(made.token) is None
    source.gate.set()
    await asyncio.gather(*guesses, return_exceptions=True)


@pytest.mark.req("PIPE-9")
async def test_a_known_key_outlives_an_outage_for_ten_minutes_and_an_unknown_one_is_told_to_wait(
    database: Database,
) -> None:
    source, clock = _Counted(ApiKeys(database)), ManualClock()
    made, other = (
        await ApiKeys(database).create("acme", "ci", role=Role.ADMIN),
        await ApiKeys(database).create("acme", "late", role=Role.ADMIN),
    )
    guard = KeyGuard(source, clock)
    assert await guard.verify(made.token)
    source.away = True
    clock.advance(60)
    assert await guard.verify(made.token)
    clock.advance(500)
    assert await guard.verify(made.token)
    for token in (other.token, made.token[:-1] + ("A" if made.token[-1] != "A" else "B")):
        with pytest.raises(DatabaseUnavailableError):  # it may be right: of a key nobody asked for, or rotated since
            await guard.verify(token)
    clock.advance(60)
    with pytest.raises(DatabaseUnavailableError):
        await guard.verify(made.token)
    source.away = False
    assert await guard.verify(made.token)


async def test_no_request_waits_for_a_database_that_is_known_to_be_away(database: Database) -> None:
    source, clock = _Counted(ApiKeys(database)), ManualClock()
    made = await ApiKeys(database).create("acme", "ci", role=Role.ADMIN)
    guard = KeyGuard(source, clock)
    await guard.verify(made.token)
    source.away = True
    clock.advance(31)
    await guard.verify(made.token)
    clock.advance(2)
    source.gate.clear()
    assert await asyncio.wait_for(guard.verify(made.token), 0.5)
    source.away = False
    await ApiKeys(database).revoke(made.key.key_id)
    source.gate.set()
    async with asyncio.timeout(5):
        while await guard.verify(made.token) is not None:  # noqa: ASYNC110 - the guard says nothing by itself
            await asyncio.sleep(0.01)
