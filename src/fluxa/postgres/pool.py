"""The connection pool, and by which URL connections are made. Not: where the database is (fluxa.apps.settings)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.errors import UNAVAILABLE, mapped
from fluxa.postgres.slow import SlowStatements
from fluxa.postgres.transaction import Row, StatementProbe, Transaction

_SQL = sql.load("fluxa.postgres", "server.sql")
_OLDEST = 15


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How to connect.

    Attributes:
        url: `postgresql://…`; a Unix socket as `?host=/folder`.
        application: shown in `pg_stat_activity`.
        size_min: connections kept open.
        size_max: connections at most.
        prepared: whether statements are prepared and kept; False behind PgBouncer in transaction mode.
        connect_timeout_s: seconds to wait for a connection.
        statement_timeout_s: seconds after which a statement is cancelled by the client.
    """

    url: str
    application: str = "fluxa"
    size_min: int = 1
    size_max: int = 8
    prepared: bool = True
    connect_timeout_s: float = 5.0
    statement_timeout_s: float = 30.0


async def _keep_session(_connection: object) -> None:
    """Skip asyncpg's reset on release: we set no session state, and it costs a round trip each time."""


def refuse_old(version: asyncpg.types.ServerVersion) -> None:
    """Stop before statements that an old server does not understand are sent to it.

    Raises:
        FluxaError: `Configuration`.
    """
    if version.major < _OLDEST:
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"The server is Postgres {version.major}.{version.minor}; Fluxa needs {_OLDEST} or newer. "
            "Upgrade it, or set FLUXA_DATABASE_URL to another one, or unset it to use the embedded one.",
        )


def _refuse_old_server(connection: asyncpg.Connection) -> None:
    refuse_old(connection.get_server_version())


async def _greet(connection: asyncpg.Connection) -> None:
    _refuse_old_server(connection)


class Login:
    """The URL of new connections.

    A role has one password: between the moment it is changed and the moment everybody has heard of it, the old one
    opens nothing. So a URL that does not open yet waits here, and counts from the first time that the old one is
    refused.

    Args:
        url: that opens now.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._waiting: str | None = None

    async def connect(self, **arguments: Any) -> asyncpg.Connection:  # noqa: ANN401 - as `asyncpg.connect` takes them
        """A connection, by the URL that opens; errors are asyncpg's own."""
        url = self.url
        try:
            connection: asyncpg.Connection = await asyncpg.connect(url, **arguments)
        except asyncpg.InvalidAuthorizationSpecificationError:
            following = self._waiting or self.url
            if following == url:
                raise
            connection = await asyncpg.connect(following, **arguments)
            self._count(following)
        return connection

    async def use(
        self,
        url: str,
        *,
        accept: Callable[[asyncpg.Connection], None] = lambda _connection: None,
        **arguments: Any,  # noqa: ANN401 - as `asyncpg.connect` takes them
    ) -> None:
        """Go on with this URL, once it has opened.

        Args:
            url: that is to count.
            accept: looks at the first connection, and raises if it is of no use.
            **arguments: of the connection.

        Raises:
            FluxaError: it does not open yet, and waits until it does; what `accept` raises, and then it does not wait.
        """
        if url == self.url:
            self._waiting = None
            return
        self._waiting = url
        with mapped():
            connection = await asyncpg.connect(url, **arguments)
        try:
            accept(connection)
            self._count(url)
        finally:
            self._waiting = None
            # It has shown that it opens; how its connection ends changes nothing.
            with contextlib.suppress(*UNAVAILABLE, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=1)

    def _count(self, url: str) -> None:
        self.url = url
        if self._waiting == url:
            self._waiting = None


class Database:
    """A pool of connections to one database. A `fluxa.kernel.lifecycle.Service`."""

    def __init__(
        self, config: PoolConfig, *, probe: StatementProbe | None = None, slow: SlowStatements | None = None
    ) -> None:
        self.config = config
        self._probe = probe
        self._slow = slow
        self._login = Login(config.url)
        self._pool: asyncpg.Pool | None = None

    async def start(self) -> None:
        """Open the pool.

        Raises:
            DatabaseUnavailableError: if Postgres cannot be reached.
            FluxaError: `Configuration`, if the server is too old or the pooler before it does not fit.
        """
        if self._pool is not None:
            return
        config = self.config
        connect: Any = self._connect  # the stubs ask for every argument by its name
        with mapped():
            self._pool = await asyncpg.create_pool(
                config.url,
                min_size=config.size_min,
                max_size=config.size_max,
                connect=connect,
                reset=_keep_session,
                init=_greet,
                **self._arguments(),
            )

    def _arguments(self) -> dict[str, Any]:
        """How each connection is made."""
        config = self.config
        settings = {"application_name": config.application}
        if config.prepared:
            # Queues grow from nothing to millions in minutes: a plan kept from then would read the whole table.
            settings["plan_cache_mode"] = "force_custom_plan"
        return {
            "timeout": config.connect_timeout_s,
            "command_timeout": config.statement_timeout_s,
            "statement_cache_size": 256 if config.prepared else 0,
            "server_settings": settings,
        }

    async def _connect(self, _url: str, **arguments: Any) -> asyncpg.Connection:  # noqa: ANN401 - the pool's
        return await self._login.connect(**arguments)

    async def use(self, url: str) -> None:
        """Make new connections by this URL; those in use finish what they do, and are then made anew.

        Raises:
            FluxaError: it does not let us in yet; it is tried again by whatever the one in force does not let in.
        """
        await self._login.use(url, accept=_refuse_old_server, **self._arguments())
        if url == self.config.url:
            return
        self.config = replace(self.config, url=url)
        if self._pool is not None:
            await self._pool.expire_connections()

    async def stop(self) -> None:
        """Close the pool after its connections have come back, within five seconds."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except (*UNAVAILABLE, asyncpg.InterfaceError):
            pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        """A connection in autocommit: each statement is a transaction of its own."""
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError("the pool is not open")
        with mapped():
            connection = await pool.acquire(timeout=self.config.connect_timeout_s)
        handle = Transaction(connection, self._probe, self._slow)
        try:
            yield handle
        finally:
            # The work is done or has failed by itself; a connection that dies on its way back changes neither, and
            # an error from here would hide the block's own, a cancellation even.
            with contextlib.suppress(*UNAVAILABLE, asyncpg.PostgresError, asyncpg.InterfaceError):
                await pool.release(connection)
        handle.committed()

    @contextlib.asynccontextmanager
    async def joined(self, tx: Transaction | None) -> AsyncIterator[Transaction]:
        """The caller's transaction where there is one; else a connection as of `connection`, for a single statement."""
        if tx is not None:
            yield tx
            return
        async with self.connection() as handle:
            yield handle

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """`BEGIN … COMMIT`; rolled back if the block raises.

        Raises:
            DatabaseUnavailableError: also when the answer to COMMIT was lost, so its outcome is unknown.
        """
        async with self.connection() as handle:
            handle.observe("begin")
            transaction = handle.connection.transaction()
            with handle.under_way("begin"):
                await transaction.start()
            try:
                yield handle
            except BaseException:
                with contextlib.suppress(*UNAVAILABLE, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await transaction.rollback()
                raise
            handle.observe("commit")
            with handle.under_way("commit"):
                await transaction.commit()
            handle.observe("committed")

    async def check(self) -> None:
        """Raise `DatabaseUnavailableError` if Postgres does not answer."""
        await self.fetch_value(_SQL["ping"])

    async def clock_s(self) -> float:
        """What the server's clock says, in Unix seconds."""
        return float(await self.fetch_value(_SQL["read_clock"]))

    async def execute(self, statement: str, *args: object) -> int:
        """Run one statement in its own transaction; the number of rows it touched."""
        async with self.connection() as handle:
            return await handle.execute(statement, *args)

    async def fetch(self, statement: str, *args: object) -> Sequence[Row]:
        """All rows of one statement."""
        async with self.connection() as handle:
            return await handle.fetch(statement, *args)

    async def fetch_row(self, statement: str, *args: object) -> Row | None:
        """The first row of one statement, or None."""
        async with self.connection() as handle:
            return await handle.fetch_row(statement, *args)

    async def fetch_value(self, statement: str, *args: object) -> Any:  # noqa: ANN401 - a column of any type
        """The first column of the first row, or None."""
        async with self.connection() as handle:
            return await handle.fetch_value(statement, *args)
