"""Wake-ups over LISTEN and NOTIFY: hints that save polling, never the only way to learn of work."""

import abc
import asyncio
import contextlib
from collections import deque

import asyncpg

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.errors import UNAVAILABLE
from fluxa.postgres.pool import Database, Login, PoolConfig
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import Duty

_CHANNEL = "fluxa_wake"
_SQL = sql.load("fluxa.postgres", "server.sql")


class _Topic:
    """Who waits for a topic, and whether it was announced while nobody did."""

    def __init__(self) -> None:
        self.announced = False
        self.waiters: deque[asyncio.Future[None]] = deque()

    def hear(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.announced = True


class Listener:
    """One connection a process that hears which topics have new work.

    Through PgBouncer in transaction mode nothing is heard; waiters then fall back to their timeouts.
    `probe_s` says how often a silent connection is asked whether it still lives.
    """

    def __init__(self, config: PoolConfig, *, reconnect_s: float = 1.0, probe_s: float = 30.0) -> None:
        self._config = config
        self._login = Login(config.url)
        self._closed = asyncio.Event()
        self._reconnect_s = reconnect_s
        self._probe_s = probe_s
        self._topics: dict[str, _Topic] = {}
        self.is_connected = False
        """Whether announcements can be heard now; behind a pooler that shares connections they are not all the same."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen in the background; an outage is retried until `stop`."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="postgres-listener")

    async def stop(self) -> None:
        """End the connection."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def use(self, url: str) -> None:
        """Listen by this URL from now on; the connection is made anew, and what is announced meanwhile looked for once.

        Raises:
            FluxaError: it does not let us in yet; it is tried again by whatever the one in force does not let in.
        """
        if url == self._login.url:
            return
        await self._login.use(url, timeout=self._config.connect_timeout_s)
        self._closed.set()

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Wait for a wake-up of the topic, at most so long. True if one came; each is for one waiter."""
        known = self._topics.setdefault(topic, _Topic())
        if known.announced:
            known.announced = False
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        known.waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                known.hear()  # it was woken and will not look: the next one must
            raise
        finally:
            with contextlib.suppress(ValueError):
                known.waiters.remove(waiter)
        return True

    def hear(self, topic: str) -> None:
        """Wake one waiter of a topic in this process: all of them would find the same work, and fight for it."""
        self._topics.setdefault(topic, _Topic()).hear()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(*UNAVAILABLE, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._listen()
            await asyncio.sleep(self._reconnect_s)

    async def _listen(self) -> None:
        connection = await self._login.connect(
            timeout=self._config.connect_timeout_s,
            statement_cache_size=0,
            server_settings={"application_name": f"{self._config.application}-listen"},
        )
        closed = self._closed = asyncio.Event()
        connection.add_termination_listener(lambda _connection: closed.set())
        try:
            await connection.add_listener(_CHANNEL, lambda _c, _pid, _channel, topic: self.hear(str(topic)))
            self.is_connected = True
            for topic in list(self._topics):
                self.hear(topic)  # what was announced while we were away is unknown: look once
            while not await self._ended(closed):
                # A network that swallows packets closes nothing: only a question shows that nobody is there.
                await connection.execute(_SQL["ping"], timeout=self._config.connect_timeout_s)
        finally:
            self.is_connected = False
            connection.terminate()

    async def _ended(self, closed: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(self._probe_s):
                await closed.wait()
        except TimeoutError:
            return False
        return True


class Notifier:
    """Announces topics: the first at once, later ones together after a pause, never in a producer's transaction.

    NOTIFY takes a lock that all commits share, so it stays out of transactions that carry data and
    is sent at most once per `spacing_s` for a topic.
    """

    def __init__(self, database: Database, *, spacing_s: float = 0.005) -> None:
        self._database = database
        self._spacing_s = spacing_s
        self._pending: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def announce(self, topic: str) -> None:
        """Say that a topic has new work; returns at once."""
        self._pending.add(topic)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="postgres-notifier")

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Send what is pending, then end."""
        if self._task is not None:
            await self._task

    async def _send(self) -> None:
        while self._pending:
            topics, self._pending = self._pending, set()
            # A lost hint costs one polling interval, so an outage here is no failure of the send.
            with contextlib.suppress(FluxaError):
                for topic in topics:
                    await self._database.execute(_SQL["notify_topic"], topic)
            await asyncio.sleep(self._spacing_s)


class Following(abc.ABC):
    """Keeps up with a table in the background. A `Service` to inherit from.

    It looks when its topic is announced, and every `period_s` in any case. A look that fails is told once, and what
    was known before it holds.

    Args:
        task: its name in logs and metrics.
        topic: announces changes.
        listener: hears the topic; None: only the period counts.
        clock: measures outages.
        hook: hears of them.
        period_s: seconds between looks where nothing is heard.

    Attributes:
        duty: tells how looks fare.
    """

    def __init__(
        self, task: str, topic: str, *, listener: Listener | None, clock: Clock, hook: Hook, period_s: float
    ) -> None:
        self._name = task
        self._topic = topic
        self._listener = listener
        self.duty = Duty(task, clock=clock, hook=hook)
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def look(self) -> None:
        """Learn what the table says now.

        Raises:
            FluxaError: whatever keeps it from that.
        """

    async def start(self) -> None:
        """Look once, then keep up in the background.

        Raises:
            FluxaError: if the first look fails: who does not know must not begin.
        """
        if self._task is None:
            await self.look()
            self._task = asyncio.create_task(self._follow(), name=self._name)

    async def stop(self) -> None:
        """Follow no more."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def _follow(self) -> None:
        while True:
            if self._listener is None:
                await asyncio.sleep(self._period_s)
            else:
                await self._listener.wait(self._topic, self._period_s)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - what was known holds; the next turn looks again
                self.duty.failed(error)
            else:
                self.duty.worked()


async def notify(database: Database, topic: str) -> None:
    """Announce a topic once, for what is rare, such as an operator's word; a hint that is lost costs a poll."""
    with contextlib.suppress(FluxaError):
        await database.execute(_SQL["notify_topic"], topic)
