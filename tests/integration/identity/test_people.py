"""Users, logins and refresh tokens on a real Postgres: who gets in, who is kept out, what ends a session (SEC-1)."""

import asyncio
import datetime as dt
import statistics
import time
import uuid
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field

import asyncpg
import pytest
from argon2.profiles import CHEAPEST
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxa.auth.audit import Act
from fluxa.auth.people.attempts import Attempts
from fluxa.auth.people.logins import From, Login, Logins
from fluxa.auth.people.passwords import Passwords
from fluxa.auth.people.rules import GRACE_S
from fluxa.auth.people.users import User, Users
from fluxa.auth.roles import Role
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, new_correlation_id
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.transaction import Transaction
from fluxa.telemetry.catalogue import RefreshReused, Signal
from fluxa.testing.clock import ManualClock

pytestmark = pytest.mark.req("SEC-1")

PHRASE = "correct horse battery"
CAME = From("192.0.2.7", "curl/8", new_correlation_id())


@dataclass
class Book:
    """Acts, once their transaction has committed."""

    acts: list[Act] = field(default_factory=list)

    async def record(self, tx: Transaction, act: Act) -> None:
        """Write it down."""
        tx.after_commit(lambda: self.acts.append(act))


class House:
    """Everything about people, on one database."""

    def __init__(self, database: Database, *, passwords: Passwords | None = None) -> None:
        self.clock = ManualClock(dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
        self.book, self.heard = Book(), list[Signal]()
        self.sessions = PostgresSessions(database, self.clock)
        self.attempts = Attempts(database, self.clock)
        self.passwords = passwords or Passwords(CHEAPEST)
        self.users = Users(
            database,
            passwords=self.passwords,
            sessions=self.sessions,
            attempts=self.attempts,
            audit=self.book,
            clock=self.clock,
        )
        self.logins = Logins(
            database,
            passwords=self.passwords,
            sessions=self.sessions,
            attempts=self.attempts,
            audit=self.book,
            clock=self.clock,
            hook=self.heard.append,
        )

    async def ada(self, role: Role = Role.MANAGER) -> User:
        return await self.users.create("acme", "Ada@Example.com", PHRASE, role=role, by="cli")

    async def login(self, name: str = "ada@example.com", password: str = PHRASE, came: From = CAME) -> Login:
        return await self.logins.login(name, password, came)

    async def refused(self, name: str = "ada@example.com", came: From = CAME) -> str:
        with pytest.raises(FluxaError) as caught:
            await self.login(name, "wrong wrong wrong", came)
        return caught.value.code

    def actions(self) -> list[str]:
        return [act.action for act in self.book.acts]


@pytest.fixture
def house(database: Database) -> House:
    """Nobody lives there yet."""
    return House(database)


async def test_a_login_begins_a_session_that_is_live(house: House) -> None:
    ada = await house.ada()
    login = await house.login("  ADA@example.COM ")

    assert await house.sessions.is_live(login.session.session_id)
    assert (login.user.user_id, login.user.role, login.session.user_id) == (ada.user_id, Role.MANAGER, ada.user_id)
    assert house.actions() == ["user.created", "session.created"]
    assert PHRASE not in str(house.book.acts)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada@example.com", "wrong wrong wrong"),
        ("ada@example.com", PHRASE + " "),
        ("ada@example.com", PHRASE.upper()),
        ("ada@example.com", ""),
        ("ada@example.com", "x" * 5000),
        ("nobody@example.com", PHRASE),
        ("not a name", PHRASE),
        ("", PHRASE),
        ("ada@example.com\x00", PHRASE),
        ("disabled@example.com", PHRASE),
        ("guest@example.com", ""),
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(
    house: House, database: Database, name: str, password: str
) -> None:
    await house.ada()
    other = await house.users.create("acme", "disabled@example.com", PHRASE, role=Role.ADMIN, by="cli")
    await house.users.change(other.user_id, by="cli", disabled=True)
    guest = await house.users.create("acme", "guest@example.com", PHRASE, role=Role.ADMIN, by="cli")
    await database.execute("update fluxa.users set password_hash = null where user_id = $1", guest.user_id)

    with pytest.raises(FluxaError) as caught:
        await house.login(name, password)
    assert caught.value.code == ErrorCode.UNAUTHENTICATED
    assert caught.value.detail == "The name or the password is wrong, or the user is disabled."
    assert await database.fetch_value("select count(*) from fluxa.sessions") == 0


async def test_unknown_names_take_as_long_as_wrong_passwords(database: Database) -> None:
    house = House(database, passwords=Passwords())
    await house.ada()
    spent: dict[str, list[float]] = {"ada@example.com": [], "nobody@example.com": []}
    for _ in range(8):
        for name, times in spent.items():
            house.clock.advance(90_000)
            began = time.perf_counter()
            assert await house.refused(name) == ErrorCode.UNAUTHENTICATED
            times.append(time.perf_counter() - began)
    known, unknown = (statistics.median(times) for times in spent.values())

    assert 0.6 < known / unknown < 1.6, spent


@pytest.mark.parametrize("name", ["ada@example.com", "nobody@example.com"])
async def test_failures_lock_a_name_known_or_not_for_a_time_that_grows_and_ends(house: House, name: str) -> None:
    await house.ada()
    for _ in range(5):
        assert await house.refused(name) == ErrorCode.UNAUTHENTICATED
    for lock_s in (15, 30, 60, 120, 240, 480, 900, 900):
        with pytest.raises(FluxaError) as caught:
            await house.login(name, PHRASE)
        assert caught.value.code == ErrorCode.OVERLOADED
        assert caught.value.retry_after_s == pytest.approx(lock_s)
        house.clock.advance(lock_s)
        assert await house.refused(name) == ErrorCode.UNAUTHENTICATED
    house.clock.advance(901)
    if name.startswith("ada"):
        await house.login()
        for _ in range(5):
            assert await house.refused(name, From("192.0.2.9", "", CAME.correlation_id)) == ErrorCode.UNAUTHENTICATED, (
                "a success begins the count anew"
            )


async def test_a_thousand_guesses_at_once_are_no_more_than_the_few_allowed(house: House) -> None:
    await house.ada()
    codes = await asyncio.gather(*(house.refused() for _ in range(60)))

    assert codes.count(ErrorCode.UNAUTHENTICATED) == 5


async def test_an_address_is_locked_over_many_names_and_not_cleared_by_an_account_of_ones_own(house: House) -> None:
    await house.ada()
    for turn in range(20):
        assert await house.refused(f"u{turn}@example.com") == ErrorCode.UNAUTHENTICATED
        if turn == 10:
            await house.login()
    assert await house.refused("u99@example.com") == ErrorCode.OVERLOADED
    assert (await house.login(came=From("192.0.2.8", "", CAME.correlation_id))).user.name == "ada@example.com"


async def test_addresses_of_one_ipv6_network_are_counted_as_one_and_embedded_ipv4_by_itself(house: House) -> None:
    """A customer has 2^64 addresses of IPv6: each a new one would be no lock at all."""
    await house.ada()

    def refused(name: str, address: str) -> Awaitable[str]:
        return house.refused(name, From(address, "", CAME.correlation_id))

    for turn in range(20):
        assert await refused(f"u{turn}@example.com", f"2001:db8::{turn:x}") == ErrorCode.UNAUTHENTICATED
        assert await refused(f"v{turn}@example.com", f"::ffff:192.0.2.{turn}") == ErrorCode.UNAUTHENTICATED
    assert await refused("u99@example.com", "2001:db8::ffff:1:2:3") == ErrorCode.OVERLOADED
    assert await refused("u98@example.com", "2001:db8:0:1::1") == ErrorCode.UNAUTHENTICATED
    assert await refused("u97@example.com", "::ffff:192.0.2.99") == ErrorCode.UNAUTHENTICATED


async def test_a_lock_is_ended_by_an_operator(house: House) -> None:
    await house.ada()
    for _ in range(5):
        await house.refused()
    assert await house.attempts.locked_until("ada@example.com") is not None
    assert await house.users.unlock("ADA@example.com", by="cli")

    assert (await house.login()).user.name == "ada@example.com"
    assert "user.unlocked" in house.actions()
    assert not await house.users.unlock("ada@example.com", by="cli")


@pytest.mark.req("SEC-4")
async def test_strangers_who_lock_a_name_lock_its_owner_out_only_where_he_never_was(house: House) -> None:
    await house.ada()
    home, stranger = From("198.51.100.7", "", CAME.correlation_id), From("203.0.113.9", "", CAME.correlation_id)
    await house.login(came=home)
    for _ in range(5):
        assert await house.refused(came=stranger) == ErrorCode.UNAUTHENTICATED
    assert await house.refused(came=stranger) == ErrorCode.OVERLOADED
    for _ in range(3):
        assert (await house.login(came=home)).user.name == "ada@example.com"
        assert await house.refused(came=stranger) == ErrorCode.OVERLOADED, "that clears nothing for strangers"
    # At home nobody may guess for ever either.
    for _ in range(5):
        assert await house.refused(came=home) == ErrorCode.UNAUTHENTICATED
    assert await house.refused(came=home) == ErrorCode.OVERLOADED
    assert await house.users.unlock("ada@example.com", by="cli")
    for came in (home, stranger):
        assert await house.refused(came=came) == ErrorCode.UNAUTHENTICATED
    house.clock.advance(31 * 86_400)
    for _ in range(5):
        assert await house.refused(came=stranger) == ErrorCode.UNAUTHENTICATED
    assert await house.refused(came=home) == ErrorCode.OVERLOADED, "it was too long ago"


@pytest.mark.req("SEC-4")
async def test_a_lock_of_an_address_is_ended_by_an_operator(house: House) -> None:
    await house.ada()
    for turn in range(20):
        assert await house.refused(f"u{turn}@example.com") == ErrorCode.UNAUTHENTICATED
    with pytest.raises(FluxaError):
        await house.login()
    assert await house.users.unlock_address(CAME.address, tenant=Tenant("default"), by="cli")
    assert (await house.login()).user.name == "ada@example.com"
    assert house.book.acts[1].action == "address.unlocked"
    assert not await house.users.unlock_address("192.0.2.200", tenant=Tenant("default"), by="cli")


@pytest.mark.parametrize("verb", ["role", "disable", "password", "sessions"])
async def test_what_takes_rights_away_ends_sessions_at_once(house: House, verb: str, database_url: str) -> None:
    ada = await house.ada()
    logins = [await house.login() for _ in range(2)]
    elsewhere = Database(PoolConfig(url=database_url))
    await elsewhere.start()
    theirs = PostgresSessions(elsewhere, house.clock)
    assert await theirs.is_live(logins[0].session.session_id)

    match verb:
        case "role":
            await house.users.change(ada.user_id, by="cli", role=Role.ANALYST)
        case "disable":
            await house.users.change(ada.user_id, by="cli", disabled=True)
        case "password":
            await house.users.set_password(ada.user_id, "another long password", by="cli")
        case _:
            assert await house.users.end_sessions(ada.user_id, by="cli") == 2

    for login in logins:
        assert not await theirs.is_live(login.session.session_id)
        with pytest.raises(FluxaError) as caught:
            await house.logins.refresh(login.refresh_token, CAME)
        assert caught.value.code == ErrorCode.UNAUTHENTICATED
    await elsewhere.stop()


async def test_role_and_password_change_together_or_not_at_all(house: House) -> None:
    ada = await house.ada()
    with pytest.raises(FluxaError) as caught:
        await house.users.change(ada.user_id, by="cli", role=Role.ANALYST, password="short")  # noqa: S106
    assert caught.value.code == ErrorCode.INVALID_REQUEST
    assert (await house.users.get(ada.user_id)).role is ada.role
    changed = await house.users.change(ada.user_id, by="cli", role=Role.ANALYST, password="another long password")  # noqa: S106
    assert changed.role is Role.ANALYST
    with pytest.raises(FluxaError):
        await house.login()


async def test_nobody_logs_in_beside_being_disabled(house: House) -> None:
    ada = await house.ada()
    for _ in range(4):
        await asyncio.gather(
            *(house.login() for _ in range(4)),
            house.users.change(ada.user_id, by="cli", disabled=True),
            return_exceptions=True,
        )
        assert await house.sessions.list_of(ada.user_id) == []
        await house.users.change(ada.user_id, by="cli", disabled=False)
        await house.users.unlock(ada.name, by="cli")


async def test_a_hash_made_with_other_parameters_is_renewed_at_login(house: House, database: Database) -> None:
    await house.ada()
    before = await database.fetch_value("select password_hash from fluxa.users")
    stronger = House(database, passwords=Passwords())
    await stronger.login()
    after = await database.fetch_value("select password_hash from fluxa.users")

    assert (before != after, "m=65536,t=3,p=4" in after) == (True, True)
    await stronger.login()
    assert await database.fetch_value("select password_hash from fluxa.users") == after


async def test_a_reused_refresh_token_ends_the_session_and_is_told(house: House) -> None:
    await house.ada()
    first = await house.login()
    second = await house.logins.refresh(first.refresh_token, CAME)
    house.clock.advance(GRACE_S + 1)
    with pytest.raises(FluxaError):
        await house.logins.refresh(first.refresh_token, CAME)

    assert not await house.sessions.is_live(first.session.session_id)
    with pytest.raises(FluxaError):
        await house.logins.refresh(second.refresh_token, CAME)
    assert house.actions()[-1] == "session.reuse_detected"
    assert [type(signal) for signal in house.heard] == [RefreshReused]


async def test_of_two_who_exchange_one_token_at_once_only_one_line_goes_on(house: House) -> None:
    await house.ada()
    login = await house.login()
    pairs = await asyncio.gather(*(house.logins.refresh(login.refresh_token, CAME) for _ in range(2)))
    live = 0
    for pair in pairs:
        try:
            await house.logins.refresh(pair.refresh_token, CAME)
            live += 1
        except FluxaError:
            pass
    assert live <= 1


@pytest.fixture
def migrated_url(postgres_server: str) -> Iterator[str]:
    """A database for all examples of one test, which runs its own loops."""
    name = f"test_{uuid.uuid4().hex[:12]}"

    async def run(statement: str) -> None:
        admin = await asyncpg.connect(postgres_server.format("postgres"))
        await admin.execute(statement)
        await admin.close()

    asyncio.run(run(f"create database {name} template fluxa_template"))
    yield postgres_server.format(name)
    asyncio.run(run(f"drop database {name} with (force)"))


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.0, 3.0, GRACE_S + 1])), max_size=9))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_refresh_tokens_agree_with_their_model(migrated_url: str, moves: list[tuple[int, float]]) -> None:
    """Any token of a session may be shown at any time; the model knows which line is the live one."""

    async def play(database: Database) -> None:
        house = House(database)
        name = f"u{time.time_ns()}@example.com"
        await house.users.create("acme", name, PHRASE, role=Role.AGENT, by="cli")
        came = From(name, "", CAME.correlation_id)
        given_out = [(await house.login(name, came=came)).refresh_token]
        used_at: dict[int, dt.datetime] = {}
        ended = False
        for pick, wait_s in moves:
            house.clock.advance(wait_s)
            place, now = pick % len(given_out), house.clock.now()
            newest, first = place == len(given_out) - 1, used_at.get(place)
            later_used = any(other > place for other in used_at)
            fine = newest if first is None else (now - first).total_seconds() <= GRACE_S and not later_used
            try:
                given_out.append((await house.logins.refresh(given_out[place], came)).refresh_token)
                passed = True
                used_at.setdefault(place, now)
            except FluxaError:
                passed = False
            assert passed == (fine and not ended)
            ended = ended or not fine

    async def on_a_pool() -> None:
        database = Database(PoolConfig(url=migrated_url, size_max=2))
        await database.start()
        try:
            await play(database)
        finally:
            await database.stop()

    asyncio.run(on_a_pool())
