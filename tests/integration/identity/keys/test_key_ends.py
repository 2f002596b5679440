"""How keys end: by time, by rotation, with their service account; and how a process learns of it."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from fluxa.auth.keys.accounts import ServiceAccounts
from fluxa.auth.keys.api_keys import TOPIC, ApiKeys
from fluxa.auth.keys.key_guard import GuardLimits, KeyGuard
from fluxa.auth.keys.key_watch import KeyUse, KeyWatch
from fluxa.auth.keys.rules import StoredKey
from fluxa.auth.principal import DeniedError, Reason
from fluxa.auth.roles import Role
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError
from fluxa.operations.ledger import Ledger
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import silent
from fluxa.testing.clock import ManualClock

pytestmark = pytest.mark.req("STATION-auth", "SEC-5")

DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    """The time of keys and guards."""
    return ManualClock()


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> ApiKeys:
    """The keys of a fresh database."""
    return ApiKeys(database, Ledger(database), clock)


@pytest.fixture
def accounts(database: Database, keys: ApiKeys) -> ServiceAccounts:
    """Its service accounts."""
    return ServiceAccounts(database, keys, Ledger(database))


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    """Hears wake-ups."""
    listener = Listener(database.config)
    await listener.start()
    async with asyncio.timeout(10):
        while not listener.is_connected:  # noqa: ASYNC110 - it says nothing by itself
            await asyncio.sleep(0.01)
    yield listener
    await listener.stop()


def altered(token: str) -> str:
    return token[:-1] + ("A" if token[-1] != "A" else "B")


async def refusal(guard: KeyGuard, token: str) -> DeniedError:
    with pytest.raises(DeniedError) as refused:
        await guard.verify(token)
    return refused.value


async def acts(database: Database) -> list[str]:
    return [row["action"] for row in await database.fetch("select action from fluxa.ledger order by number")]


async def test_a_key_ends_when_its_time_is_over_and_says_so_to_its_owner_only(
    keys: ApiKeys, clock: ManualClock
) -> None:
    made = await keys.create("acme", "ci", role=Role.ADMIN, expires_in_s=DAY_S)
    guard = KeyGuard(keys, clock)
    assert await guard.verify(made.token)
    clock.advance(DAY_S - 10)
    assert await guard.verify(made.token)
    clock.advance(10)  # nobody looked since: the memory of the key ends with the key
    told = await refusal(guard, made.token)
    assert (told.code, told.reason) == ("Unauthenticated", Reason.EXPIRED)
    assert made.key.key_id in told.detail
    assert await guard.verify(altered(made.token)) is None
    fresh = KeyGuard(keys, clock)
    assert (await refusal(fresh, made.token)).reason is Reason.EXPIRED
    assert await fresh.verify(altered(made.token)) is None
    with pytest.raises(FluxaError, match="no valid key"):
        await keys.rotate(made.key.key_id)


class _Away:
    """Finds a key once; then Postgres is away."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self.away = False

    async def find(self, key_id: str) -> StoredKey | None:
        if self.away:
            raise DatabaseUnavailableError("away")
        return await self._keys.find(key_id)


async def test_an_outage_makes_no_key_last_longer_than_its_time(keys: ApiKeys, clock: ManualClock) -> None:
    made = await keys.create("acme", "ci", role=Role.ADMIN, expires_in_s=100)
    source = _Away(keys)
    guard = KeyGuard(source, clock)
    assert await guard.verify(made.token)
    source.away = True
    for _ in range(9):
        clock.advance(11)
        assert await guard.verify(made.token)
    clock.advance(2)
    assert (await refusal(guard, made.token)).reason is Reason.EXPIRED


async def test_a_rotated_key_has_two_secrets_for_the_overlap_and_then_one(
    database: Database, keys: ApiKeys, clock: ManualClock
) -> None:
    made = await keys.create("acme", "ci", role=Role.ADMIN)
    guard, deaf = KeyGuard(keys, clock), KeyGuard(keys, clock)
    assert await deaf.verify(made.token)
    turned = await keys.rotate(made.key.key_id, overlap_s=60)
    assert turned.key_id == made.key.key_id
    for one in (guard, deaf):  # the new secret passes also where the key is remembered as it was
        assert await one.verify(turned.token)
        assert await one.verify(made.token)
        assert await one.verify(altered(turned.token)) is None
    assert (await keys.list())[0].old_until == turned.old_until
    with pytest.raises(FluxaError, match="another rotation"):
        await keys.rotate(made.key.key_id)
    clock.advance(60)
    for one in (guard, deaf):
        assert await one.verify(turned.token)
        told = await refusal(one, made.token)
        assert told.reason is Reason.EXPIRED
        assert "rotation" in told.detail
    assert (await keys.list())[0].old_until is None
    third = await keys.rotate(made.key.key_id, overlap_s=0)
    guard.doubt()
    assert (await refusal(guard, turned.token)).reason is Reason.EXPIRED
    assert await guard.verify(made.token) is None
    assert await guard.verify(third.token)
    assert await acts(database) == ["api_key.created", "api_key.rotated", "api_key.rotated"]


async def test_an_overlap_ends_with_the_old_end_of_the_key(keys: ApiKeys, clock: ManualClock) -> None:
    made = await keys.create("acme", "ci", role=Role.ADMIN, expires_in_s=100)
    turned = await keys.rotate(made.key.key_id, overlap_s=1000, expires_in_s=DAY_S)
    assert turned.old_until == clock.now() + dt.timedelta(seconds=100)
    guard = KeyGuard(keys, clock)
    clock.advance(101)
    assert (await refusal(guard, made.token)).reason is Reason.EXPIRED
    assert await guard.verify(turned.token)
    for seconds in (-1, 1e9):
        with pytest.raises(FluxaError, match="An overlap is"):
            await keys.rotate(made.key.key_id, overlap_s=seconds)
    for seconds in (0, -1, 1e12):
        with pytest.raises(FluxaError, match="ten years"):
            await keys.create("acme", "x", role=Role.ADMIN, expires_in_s=seconds)


async def test_no_request_fails_while_keys_are_rotated(database: Database) -> None:
    """Eight clients on two processes use each new secret from its first moment, and the old ones too."""
    keys, clock = ApiKeys(database), SystemClock()
    made = [await keys.create("acme", f"key {n}", role=Role.ADMIN) for n in range(15)]
    guards = [KeyGuard(keys, clock, GuardLimits(fresh_s=0.01 + 30 * number)) for number in range(2)]
    valid, done, asked = [one.token for one in made], asyncio.Event(), 0

    async def client(number: int) -> None:
        nonlocal asked
        while not done.is_set():
            for token in [*valid]:
                assert await guards[number % 2].verify(token), token
                asked += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as clients:
        for number in range(8):
            clients.create_task(client(number))
        for number, one in enumerate(made):
            valid.append((await keys.rotate(one.key.key_id, overlap_s=600)).token)
            if number % 3 == 0:
                guards[1].doubt()
            while asked < 40 * (number + 1):  # noqa: ASYNC110 - until all have had their turn
                await asyncio.sleep(0)
        done.set()
    assert asked >= 600


async def test_a_disabled_service_account_ends_its_keys_for_good(
    database: Database, keys: ApiKeys, accounts: ServiceAccounts, clock: ManualClock
) -> None:
    await accounts.create("acme", "billing", role=Role.INTEGRATION, by="cli")
    made = [await keys.create("acme", f"key {n}", account="billing") for n in range(2)]
    other = await keys.create("acme", "other", role=Role.ADMIN)
    guard = KeyGuard(keys, clock)
    who = await guard.verify(made[0].token)
    assert who is not None
    assert (who.name, who.role, who.subject) == ("billing", Role.INTEGRATION, made[0].key.key_id)
    assert await accounts.disable("acme", "billing", by="cli") == 2
    guard.doubt()
    for one in made:
        assert (await refusal(guard, one.token)).reason is Reason.DISABLED
        assert await guard.verify(altered(one.token)) is None
    assert await guard.verify(other.token)
    with pytest.raises(FluxaError, match="is disabled"):
        await keys.create("acme", "late", account="billing")
    await accounts.enable("acme", "billing", by="cli")
    guard.doubt()
    assert await guard.verify(made[0].token) is None
    assert await guard.verify((await keys.create("acme", "new", account="billing")).token)
    assert (await acts(database))[-3:] == ["service_account.disabled", "service_account.enabled", "api_key.created"]


async def test_accounts_have_one_name_in_a_tenant_and_keys_of_their_role(
    keys: ApiKeys, accounts: ServiceAccounts
) -> None:
    await accounts.create("acme", "billing", role=Role.ANALYST, by="cli")
    await accounts.create("other", "billing", role=Role.ADMIN, by="cli")
    for tenant, name, match in (
        ("acme", "billing", "has a service account"),
        ("A", "x", "cannot name a tenant"),
        ("acme", "A b", "cannot name"),
    ):
        with pytest.raises(FluxaError, match=match):
            await accounts.create(tenant, name, role=Role.ADMIN, by="cli")
    with pytest.raises(FluxaError, match="is analyst"):
        await keys.create("acme", "x", role=Role.ADMIN, account="billing")
    for change in (accounts.disable, accounts.enable):
        with pytest.raises(FluxaError, match="no service account"):
            await change("acme", "nobody", by="cli")
    with pytest.raises(FluxaError, match="no service account"):
        await keys.create("acme", "x", account="nobody")
    assert [one.tenant for one in await accounts.list()] == ["acme", "other"]


async def _until(guard: KeyGuard, token: str, within_s: float) -> float:
    """Seconds until a token is refused."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(within_s):
        while await guard.verify(token) is not None:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)
    return asyncio.get_running_loop().time() - began


async def test_a_process_that_listens_learns_of_a_revocation_at_once(database: Database, listener: Listener) -> None:
    clock, keys = SystemClock(), ApiKeys(database)
    guard = KeyGuard(keys, clock)
    watch = KeyWatch(guard, keys, listener=listener, clock=clock, hook=silent, poll_s=20.0)
    await watch.start()
    try:
        for _ in range(5):
            made = await keys.create("acme", "ci", role=Role.ADMIN)
            assert await guard.verify(made.token)
            await keys.revoke(made.key.key_id)
            assert await _until(guard, made.token, 5.0) < 1.0
    finally:
        await watch.stop()


async def test_a_process_that_hears_nothing_learns_of_it_by_the_count(database: Database) -> None:
    clock, keys = SystemClock(), ApiKeys(database)
    guard = KeyGuard(keys, clock)
    deaf = Listener(database.config)  # never started: it stands for one whose connection is gone
    watch = KeyWatch(guard, keys, listener=deaf, clock=clock, hook=silent, poll_s=0.3)
    await watch.start()
    try:
        made = await keys.create("acme", "ci", role=Role.ADMIN)
        assert await guard.verify(made.token)
        await keys.revoke(made.key.key_id)
        assert await _until(guard, made.token, 5.0) < 2.0
    finally:
        await watch.stop()


class _Slow:
    """Answers late, with what was true when it was asked."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def find(self, key_id: str) -> StoredKey | None:
        found = await self._keys.find(key_id)
        self.asked.set()
        await self.gate.wait()
        return found


async def test_an_answer_from_before_a_revocation_is_not_remembered_after_it(keys: ApiKeys, clock: ManualClock) -> None:
    made = await keys.create("acme", "ci", role=Role.ADMIN)
    source = _Slow(keys)
    guard = KeyGuard(source, clock)
    early = asyncio.create_task(guard.verify(made.token))
    await source.asked.wait()
    await keys.revoke(made.key.key_id)
    guard.doubt()
    late = asyncio.create_task(guard.verify(made.token))
    await asyncio.sleep(0)
    source.gate.set()
    assert await early is not None  # it came before the revocation
    assert await late is None
    assert await guard.verify(made.token) is None


async def test_when_keys_were_used_is_written_down_together(database: Database, clock: ManualClock) -> None:
    keys = ApiKeys(database, clock=clock)
    made = [await keys.create("acme", f"key {n}", role=Role.ADMIN) for n in range(3)]
    guard = KeyGuard(keys, clock)
    use = KeyUse(guard, keys, clock=clock, hook=silent, every_s=1000)
    for one in made[:2]:
        await guard.verify(one.token)
        assert await guard.verify(altered(made[2].token)) is None
    first = clock.now()
    await use.stop()
    assert [one.last_used_at for one in await keys.list()] == [first, first, None]
    clock.advance(100)
    await guard.verify(made[0].token)
    await keys.note_use({made[1].key.key_id: first - dt.timedelta(days=1)})  # of a process that was cut off
    await use.stop()
    assert [one.last_used_at for one in await keys.list()] == [clock.now(), first, None]


def test_the_topic_is_what_listeners_wait_for() -> None:
    assert TOPIC == "api_keys"
