"""The pool when things go wrong: restarts, cut connections, cancellations, lost answers, wrong settings."""

import asyncio
import contextlib
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig


class Wire:
    """A proxy before a server's socket that can let an answer vanish."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._mute = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None

    def lose_next_answer(self) -> None:
        """Deliver what the client says next, then end the connection instead of passing the answer on."""
        self._mute = True

    async def start(self) -> int:
        """Listen; the port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """End all connections."""
        assert self.server is not None
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket_path)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

        async def up() -> None:
            while data := await reader.read(65536):
                far_writer.write(data)

        async def down() -> None:
            while data := await far_reader.read(65536):
                if self._mute:
                    self._mute = False
                    return
                writer.write(data)

        directions = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
            self._tasks.discard(task)


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[tuple[Wire, str]]:
    """A proxy before the test's database, and the URL that leads through it."""
    address = urllib.parse.urlsplit(database_url)
    folder = urllib.parse.parse_qs(address.query)["host"][0]
    proxy = Wire(f"{folder}/.s.PGSQL.5432")
    port = await proxy.start()
    yield proxy, f"postgresql://fluxa@127.0.0.1:{port}{address.path}?sslmode=disable"
    await proxy.stop()


@contextlib.asynccontextmanager
async def _pool(url: str, **options: object) -> AsyncIterator[Database]:
    pool = Database(PoolConfig(url=url, **options))  # type: ignore[arg-type]
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


async def _until_it_answers(pool: Database) -> int:
    """Ask until it answers; how many times it did not."""
    failures = 0
    async with asyncio.timeout(30):
        while True:
            try:
                assert await pool.fetch_value("select 1") == 1
            except DatabaseUnavailableError:
                failures += 1
            else:
                return failures


async def _write(
    pool: Database, word: str, *, then: str = "select 1", after_commit: Callable[[], None] = lambda: None
) -> None:
    async with pool.transaction() as tx:
        tx.after_commit(after_commit)
        await tx.execute("insert into words values ($1)", word)
        await tx.execute(then)


@pytest.mark.req("PIPE-9")
async def test_a_restart_of_the_server_is_an_outage_and_then_over(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"})
    await server.start()
    async with _pool(server.url, size_min=4, size_max=4) as pool:
        await pool.execute("create table kept as select 1 as n")
        await server.force_stop()
        with pytest.raises(DatabaseUnavailableError) as caught:
            await pool.fetch_value("select 1")
        assert caught.value.code == ErrorCode.DB_CONNECTION_ERROR
        await server.start()
        await _until_it_answers(pool)
        assert await asyncio.gather(*(pool.fetch_value("select n from kept") for _ in range(8))) == [1] * 8
    await server.force_stop()


async def test_connections_cut_while_idle_are_replaced(database: Database, database_url: str) -> None:
    async with _pool(database_url, size_min=3, size_max=3, application="cut") as pool:
        await database.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cut'")
        assert await _until_it_answers(pool) <= 3
        assert await asyncio.gather(*(pool.fetch_value("select 2") for _ in range(9))) == [2] * 9


@pytest.mark.req("PIPE-9")
async def test_a_connection_cut_inside_a_transaction_undoes_it_and_leaves_the_pool_whole(database_url: str) -> None:
    async with _pool(database_url, size_max=1) as pool:
        await pool.execute("create table words (word text)")
        with pytest.raises(DatabaseUnavailableError):
            await _write(pool, "lost", then="select pg_terminate_backend(pg_backend_pid())")
        await _until_it_answers(pool)
        assert await pool.fetch_value("select count(*) from words") == 0


@pytest.mark.req("PIPE-5", "PIPE-7")
async def test_a_lost_answer_to_commit_is_an_outage_though_the_work_is_done(wire: tuple[Wire, str]) -> None:
    proxy, url = wire
    committed: list[str] = []

    def probe(statement: str) -> None:
        if statement == "commit":
            proxy.lose_next_answer()

    pool = Database(PoolConfig(url=url, size_max=1), probe=probe)
    await pool.start()
    try:
        async with pool.connection() as handle:
            await handle.execute("create table words (word text)")
        with pytest.raises(DatabaseUnavailableError):
            await _write(pool, "kept", after_commit=lambda: committed.append("believed"))
        assert committed == []
        await _until_it_answers(pool)
        assert await pool.fetch_value("select count(*) from words") == 1
    finally:
        await pool.stop()


async def test_one_who_is_cancelled_while_waiting_for_a_connection_takes_none_with_it(database_url: str) -> None:
    async with _pool(database_url, size_max=1) as pool:
        async with pool.connection():
            waiting = [asyncio.create_task(pool.fetch_value("select 1")) for _ in range(5)]
            await asyncio.wait(waiting, timeout=0.05)
            for task in waiting:
                task.cancel()
            assert all(
                isinstance(ended, asyncio.CancelledError)
                for ended in await asyncio.gather(*waiting, return_exceptions=True)
            )
        assert await asyncio.gather(*(pool.fetch_value("select 1") for _ in range(5))) == [1] * 5


async def test_one_who_is_cancelled_in_a_statement_leaves_a_connection_without_transaction(database_url: str) -> None:
    async with _pool(database_url, size_max=1) as pool:
        await pool.execute("create table words (word text)")
        begun = asyncio.Event()

        async def work() -> None:
            async with pool.transaction() as tx:
                await tx.execute("insert into words values ('lost')")
                begun.set()
                await tx.execute("select pg_sleep(60)")

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with pool.connection() as handle:
            assert not handle.connection.is_in_transaction()
        assert await pool.fetch_value("select count(*) from words") == 0


async def test_a_cancellation_is_not_turned_into_an_outage_when_the_connection_is_cut_too(
    database: Database, database_url: str
) -> None:
    async with _pool(database_url, size_max=1, application="doomed") as pool:
        begun = asyncio.Event()

        async def work() -> None:
            async with pool.transaction():
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        await database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'doomed'"
        )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until_it_answers(pool)


async def test_a_pool_that_has_no_connection_free_says_so_in_time(database_url: str) -> None:
    async with _pool(database_url, size_max=1, connect_timeout_s=0.1) as pool, pool.connection():
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            await pool.fetch_value("select 1")


async def test_a_statement_that_takes_too_long_is_ended_and_the_connection_stays_good(database_url: str) -> None:
    async with _pool(database_url, size_max=1, statement_timeout_s=0.1) as pool:
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            await pool.fetch_value("select pg_sleep(60)")
        assert await pool.fetch_value("select 1") == 1


async def test_a_closed_pool_is_an_outage(database_url: str) -> None:
    pool = Database(PoolConfig(url=database_url))
    with pytest.raises(DatabaseUnavailableError):
        await pool.fetch_value("select 1")
    await pool.start()
    await pool.start()
    await pool.stop()
    await pool.stop()
    with pytest.raises(DatabaseUnavailableError):
        await pool.fetch_value("select 1")


async def test_a_stop_does_not_wait_for_ever_for_a_connection_that_never_comes_back(database_url: str) -> None:
    pool = Database(PoolConfig(url=database_url))
    await pool.start()
    async with pool.connection() as handle:
        async with asyncio.timeout(20):
            await pool.stop()
        with pytest.raises(DatabaseUnavailableError):
            await handle.execute("select 1")


@pytest.mark.parametrize("url", ["postgresql://nobody-of-that-name@/{}?host={}", "mysql://fluxa@/{}?host={}"])
async def test_a_wrong_url_is_a_setting_to_correct_and_not_an_outage(database_url: str, url: str) -> None:
    folder = urllib.parse.parse_qs(urllib.parse.urlsplit(database_url).query)["host"][0]
    with pytest.raises(FluxaError, match="FLUXA_DATABASE_URL") as caught:
        await Database(PoolConfig(url=url.format("postgres", folder))).start()
    assert caught.value.code == ErrorCode.CONFIGURATION


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    nowhere = f"/tmp/none-{uuid.uuid4().hex[:8]}"  # noqa: S108 - it does not exist
    with pytest.raises(DatabaseUnavailableError):
        await Database(PoolConfig(url=f"postgresql://fluxa@/fluxa?host={nowhere}")).start()


async def test_a_broken_constraint_reaches_the_one_who_wrote_the_statement(database: Database) -> None:
    await database.execute("create table once (n int primary key)")
    await database.execute("insert into once values (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("insert into once values (1)")
    with pytest.raises(FluxaError, match="42601") as caught:
        await database.execute("selekt")
    assert caught.value.code == ErrorCode.DB_REJECTED
