"""Users and servers come, go and are killed in random order: what was written stays, and the last one out stops it."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import asyncpg
import pytest

from fluxa.postgres.embedded import process
from fluxa.postgres.embedded.layout import Layout
from making.servers import Begin, User

_STEPS = 30


class Household:
    """The users of one server, and a book of what they were told is written."""

    def __init__(self, home: Path, begin: Begin) -> None:
        self.data = Layout(home / "postgres").data
        self.users: list[User] = []
        self.written: set[int] = set()
        self._home = home
        self._begin = begin
        self._url = ""

    def come(self) -> None:
        """One more user, or two at once."""
        coming = [self._begin(self._home) for _ in range(2)]
        for user in coming:
            self._url = user.hear()["url"]
        self.users += coming

    def leave(self) -> None:
        """One goes in order."""
        self.users.pop(0).leave()

    def die(self) -> None:
        """One is killed."""
        self.users.pop().kill()

    def kill_server(self) -> None:
        """The server is killed, its children are not."""
        found = process.read_pid_file(self.data)
        if found is not None and process.is_server(found.pid, self.data):
            os.kill(found.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """A power cut: every process at once."""
        for user in self.users:
            user.kill()
        self.users.clear()
        for one in process.orphans(self.data):
            one.kill()

    async def write(self, number: int) -> None:
        """Write until it is acknowledged, and compare everything with the book."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await self._write_once(number)
                    return
                await asyncio.sleep(0.02)

    async def _write_once(self, number: int) -> None:
        connection = await asyncpg.connect(self._url, timeout=10)
        try:
            await connection.execute("create table if not exists book (n int primary key)")
            await connection.execute("insert into book values ($1) on conflict do nothing", number)
            self.written.add(number)
            rows = await connection.fetch("select n from book")
            assert {row["n"] for row in rows} == self.written
        finally:
            await connection.close()


@pytest.mark.parametrize("seed", [20260101])
def test_whoever_is_killed_the_server_comes_back_with_all_that_was_acknowledged(
    home: Path, begin: Begin, seed: int
) -> None:
    household, chance = Household(home, begin), random.Random(seed)  # noqa: S311 - to repeat a run, not to keep a secret
    for step in range(_STEPS):
        if not household.users:
            household.come()
        action = chance.choice(
            (household.come, household.leave, household.die, household.kill_server, household.kill_all)
        )
        if action != household.come or len(household.users) < 6:
            action()
        if household.users:
            asyncio.run(household.write(step))
    if not household.users:
        household.come()
    while household.users:
        household.leave()
    found = process.read_pid_file(household.data)
    assert found is None
    assert process.orphans(household.data) == []
