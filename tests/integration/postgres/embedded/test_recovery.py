"""What a killed server, a killed machine or a stranger's data leave behind, and how the next start copes."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.embedded import EmbeddedPostgres, binaries, process
from fluxa.postgres.embedded.layout import Layout
from fluxa.telemetry.catalogue import OutageBegan, OutageEnded
from fluxa.testing.signals import Signals
from making.servers import Begin

FAST = {"fsync": "off"}


@pytest.fixture
def stranger() -> Iterator[int]:
    """The process id of a living program that is no Postgres."""
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield program.pid
    program.communicate(b"\n")


async def _remember(server: EmbeddedPostgres, word: str) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("create table if not exists words (word text)")
    await connection.execute("insert into words values ($1)", word)
    await connection.close()


async def _remembered(server: EmbeddedPostgres) -> list[str]:
    connection = await asyncpg.connect(server.url)
    rows = await connection.fetch("select word from words order by word")
    await connection.close()
    return [row["word"] for row in rows]


async def _gone(pid: int, data: Path) -> None:
    async with asyncio.timeout(20):
        while process.is_server(pid, data) or process.orphans(data):  # noqa: ASYNC110 - processes send no events
            await asyncio.sleep(0.01)


async def test_a_killed_server_is_started_again_by_those_who_use_it(home: Path) -> None:
    signals = Signals()
    server = EmbeddedPostgres(home, settings=FAST, hook=signals.hear)
    await server.start()
    await _remember(server, "before")
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert (await signals.wait_for(OutageBegan)).dependency == "embedded-postgres"
    await signals.wait_for(OutageEnded)
    assert server.status().pid != pid
    assert await _remembered(server) == ["before"]
    await server.stop()
    assert not server.status().running


async def test_a_server_stopped_on_purpose_is_not_started_by_its_users_but_by_the_next_start(home: Path) -> None:
    user, other = EmbeddedPostgres(home, settings=FAST), EmbeddedPostgres(home, settings=FAST)
    await user.start()
    assert await other.force_stop()
    watch = user._watch
    assert watch is not None
    done, _ = await asyncio.wait({watch}, timeout=1.0)
    assert not done
    assert not user.status().running
    await other.start()
    assert user.status().running
    await other.stop()
    await user.stop()
    assert not user.status().running


def test_after_everything_was_killed_it_starts_again_with_all_data(home: Path, begin: Begin) -> None:
    first = begin(home)
    url = first.hear()["url"]
    data = Layout(home / "postgres").data

    async def write() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("create table words as select 'kept' as word")
        await connection.close()

    async def read() -> str:
        connection = await asyncpg.connect(url)
        word: str = await connection.fetchval("select word from words")
        await connection.close()
        return word

    asyncio.run(write())
    first.kill()
    for one in process.orphans(data):
        one.kill()
    asyncio.run(_gone(0, data))
    assert (data / "postmaster.pid").exists()
    second = begin(home)
    assert second.hear()["url"] == url
    assert asyncio.run(read()) == "kept"
    second.leave()


async def test_a_pid_file_and_a_socket_lock_that_name_a_living_stranger_are_no_obstacle(
    home: Path, stranger: int
) -> None:
    server = EmbeddedPostgres(home, settings=FAST)
    await server.start()
    await _remember(server, "kept")
    await server.stop()
    sockets = server.layout.socket_folder(os.geteuid())
    lines = [str(stranger), str(server.layout.data), "1", "5432", str(sockets), "", "1 2", "ready"]
    text = "\n".join(lines) + "\n"
    (server.layout.data / "postmaster.pid").write_text(text)
    for name in (".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
        (sockets / name).write_text(text)
    assert not server.status().running
    await server.start()
    assert server.status().pid != stranger
    assert psutil.pid_exists(stranger)
    assert await _remembered(server) == ["kept"]
    await server.stop()


async def test_children_of_a_killed_server_are_ended_before_a_new_one_writes(home: Path) -> None:
    first = EmbeddedPostgres(home, settings=FAST)
    await first.start()
    connection = await asyncpg.connect(first.url)
    # A child that computes does not notice that its parent died.
    busy = asyncio.create_task(connection.execute("select count(*) from generate_series(1, 1e10::bigint)"))
    child = await connection_pid(first)
    status = first.status()
    assert status.pid is not None
    await first._leave()  # its own watch would be quicker than we are
    os.kill(status.pid, signal.SIGKILL)
    second = EmbeddedPostgres(home, settings=FAST)
    await second.start()
    assert not process.is_server(child, first.layout.data)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await busy
    await second.stop()


async def connection_pid(server: EmbeddedPostgres) -> int:
    """The process that computes the endless series."""
    watcher = await asyncpg.connect(server.url)
    try:
        async with asyncio.timeout(10):
            while True:
                found = await watcher.fetchval(
                    "select pid from pg_stat_activity where query like '%generate_series%' and pid <> pg_backend_pid()"
                )
                if found is not None:
                    return int(found)
    finally:
        await watcher.close()


async def test_a_start_during_recovery_waits_and_says_so_when_it_takes_too_long(home: Path) -> None:
    server = EmbeddedPostgres(home, settings=FAST)
    await server.start()
    await server.stop()
    hurried = EmbeddedPostgres(home, settings=FAST, timeout_s=0.0)
    with pytest.raises(FluxaError, match="does not take connections") as caught:
        await hurried.start()
    assert caught.value.code == ErrorCode.EMBEDDED_POSTGRES
    await server.start()
    assert server.status().running
    await server.stop()


async def test_many_rows_written_before_a_crash_are_recovered_before_start_returns(home: Path) -> None:
    server = EmbeddedPostgres(home, settings={**FAST, "autovacuum": "off"})
    await server.start()
    connection = await asyncpg.connect(server.url)
    await connection.execute("create table many as select g from generate_series(1, 1000000) as g")
    await connection.close()
    pid = server.status().pid
    assert pid is not None
    await server._leave()
    os.kill(pid, signal.SIGKILL)
    users = [EmbeddedPostgres(home, settings=FAST) for _ in range(3)]
    await asyncio.gather(*(user.start() for user in users))
    connection = await asyncpg.connect(users[0].url)
    assert await connection.fetchval("select count(*) from many") == 1_000_000
    await connection.close()
    for user in users:
        await user.stop()
    assert not server.status().running


@pytest.mark.parametrize(("major", "advice"), [("99", "pip install --upgrade"), ("16", "pg_dumpall")])
async def test_data_of_another_major_version_is_refused_untouched(home: Path, major: str, advice: str) -> None:
    installation = next(binaries.find())
    server = EmbeddedPostgres(home, settings=FAST, find=lambda: [installation])
    await server.start()
    await server.stop()
    version = server.layout.data / "PG_VERSION"
    version.write_text(f"{major}\n")
    with pytest.raises(FluxaError, match=advice) as caught:
        await server.start()
    assert f"made by Postgres {major}" in caught.value.detail
    assert version.read_text() == f"{major}\n"
    assert not server.status().running


async def test_a_folder_that_is_no_data_folder_is_refused(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.layout.data.mkdir(parents=True)
    (server.layout.data / "letter.txt").write_text("mine")
    with pytest.raises(FluxaError, match="not a Postgres data folder"):
        await server.start()
    assert (server.layout.data / "letter.txt").read_text() == "mine"


async def test_a_half_made_data_folder_of_a_killed_start_is_made_anew(home: Path) -> None:
    server = EmbeddedPostgres(home, settings=FAST)
    server.layout.make()
    half = server.layout.base / "data.new-0"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    await server.start()
    assert not half.exists()
    await server.stop()


async def test_a_socket_swept_away_by_others_comes_back(home: Path) -> None:
    server = EmbeddedPostgres(home, settings=FAST)
    await server.start()
    shutil.rmtree(server.layout.socket_folder(os.geteuid()))
    other = EmbeddedPostgres(home, settings=FAST)
    await other.start()
    connection = await asyncpg.connect(server.url)
    await connection.close()
    await other.stop()
    await server.stop()


async def test_a_socket_swept_away_comes_back_for_those_who_use_the_server(home: Path) -> None:
    signals = Signals()
    server = EmbeddedPostgres(home, settings=FAST, hook=signals.hear)
    await server.start()
    shutil.rmtree(server.layout.socket_folder(os.geteuid()))
    await signals.wait_for(OutageEnded)
    await _remember(server, "again")
    await server.stop()


async def test_a_home_deleted_under_a_living_server_is_made_anew_and_the_old_server_does_not_disturb(
    home: Path,
) -> None:
    server = EmbeddedPostgres(home, settings=FAST)
    await server.start(stay=True)
    await _remember(server, "lost")
    old = server.status().pid
    await server.stop()
    assert old is not None
    assert psutil.pid_exists(old)
    shutil.rmtree(home)
    await server.start()
    assert not psutil.pid_exists(old) or psutil.Process(old).status() == psutil.STATUS_ZOMBIE
    await _remember(server, "new")
    assert await _remembered(server) == ["new"]
    await server.stop()


async def test_no_programs_is_said_plainly(home: Path) -> None:
    server = EmbeddedPostgres(home, find=list)
    with pytest.raises(FluxaError, match="FLUXA_DATABASE_URL"):
        await server.start()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FluxaError, match="cannot be used"):
        await EmbeddedPostgres(file).start()
