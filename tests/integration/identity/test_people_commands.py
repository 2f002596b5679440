"""`fluxa user` and `fluxa session`: from the command line to what the database holds and the ledger tells."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fluxa.apps.serving.people import know_people
from fluxa.auth.people.attempts import Attempts
from fluxa.auth.people.logins import From
from fluxa.auth.roles import Role
from fluxa.auth.sessions import NewSession
from fluxa.auth.sessions.postgres_store import PostgresSessions
from fluxa.cli.commands.ground import actor
from fluxa.cli.main import app as commands
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import Tenant, new_correlation_id
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database

pytestmark = pytest.mark.req("SEC-1")

PHRASE = "correct horse battery"


async def _fluxa(database: Database, folder: Path, *words: str, typed: str = "") -> str:
    """What a command writes; the exit code before it."""
    given = ["--home", str(folder), "--set", f"database_url={database.config.url}"]
    found = await asyncio.to_thread(CliRunner().invoke, commands, [*given, *words], input=typed)
    return f"{found.exit_code} {found.output}"


async def test_users_are_made_listed_and_changed_by_commands(database: Database, tmp_path: Path) -> None:
    made = await _fluxa(database, tmp_path, "user", "create", "Ada@Example.org", "--role", "admin", typed=f"{PHRASE}\n")
    assert made.startswith("0 ada@example.org (tenant default, role admin) is there.")
    assert PHRASE not in made
    again = await _fluxa(database, tmp_path, "user", "create", "ADA@example.org", typed=f"{PHRASE}\n")
    assert "There is a user of this name" in again
    assert "12 to 256 characters" in await _fluxa(database, tmp_path, "user", "passwd", "ada@example.org", typed="x\n")

    listed = await _fluxa(database, tmp_path, "user", "list", "--json")
    user = json.loads(listed.removeprefix("0 "))
    assert (user["name"], user["role"], user["disabled"]) == ("ada@example.org", "admin", False)
    assert "password" not in listed
    assert (await _fluxa(database, tmp_path, "user", "role", "ada@example.org", "analyst")).startswith("0 ")
    assert (await _fluxa(database, tmp_path, "user", "disable", "ada@example.org")).startswith("0 ")
    shown = json.loads((await _fluxa(database, tmp_path, "user", "show", "ada@example.org")).removeprefix("0 "))
    assert (shown["role"], shown["disabled"], shown["sessions"]) == ("analyst", True, 0)
    assert (await _fluxa(database, tmp_path, "user", "show", "bob@example.org")).startswith("4 ")

    acts = await database.fetch("select action, actor from fluxa.ledger order by number")
    assert [(row["action"], row["actor"]) for row in acts] == [
        ("user.created", actor()),
        ("user.changed", actor()),
        ("user.changed", actor()),
    ]


async def test_sessions_are_listed_and_ended_by_commands(database: Database, tmp_path: Path) -> None:
    await _fluxa(database, tmp_path, "user", "create", "ada@example.org", typed=f"{PHRASE}\n")
    shown = json.loads((await _fluxa(database, tmp_path, "user", "show", "ada@example.org")).removeprefix("0 "))
    sessions = PostgresSessions(database, SystemClock())
    new = NewSession(shown["user_id"], Tenant("default"), "192.0.2.7", "curl/8")
    ids = [(await sessions.create(new)).session_id for _ in range(3)]

    listed = await _fluxa(database, tmp_path, "session", "list", "ada@example.org", "--json")
    assert {json.loads(line)["session_id"] for line in listed.removeprefix("0 ").splitlines()} == set(ids)
    assert (await _fluxa(database, tmp_path, "session", "delete", ids[0])).startswith("0 ")
    assert [await sessions.is_live(one) for one in ids] == [False, True, True]
    assert (await _fluxa(database, tmp_path, "session", "delete", ids[0])).startswith("4 ")
    ended = await _fluxa(database, tmp_path, "session", "delete-user", "ada@example.org")
    assert "2 sessions of ada@example.org have ended" in ended
    assert [await sessions.is_live(one) for one in ids] == [False, False, False]


@pytest.mark.req("SEC-4")
async def test_locks_are_ended_by_commands(database: Database, tmp_path: Path) -> None:
    await _fluxa(database, tmp_path, "user", "create", "ada@example.org", typed=f"{PHRASE}\n")
    attempts = Attempts(database, SystemClock())
    for turn in range(20):
        await attempts.begin("ada@example.org" if turn < 3 else f"u{turn}@example.org", "203.0.113.7")
    with pytest.raises(FluxaError):
        await attempts.begin("bob@example.org", "203.0.113.7")
    unlock = ("user", "unlock")
    assert (await _fluxa(database, tmp_path, *unlock)).startswith("2 ")
    assert (await _fluxa(database, tmp_path, *unlock, "ada@example.org", "--address", "::1")).startswith("2 ")
    assert "203.0.113.7 may try again" in await _fluxa(database, tmp_path, *unlock, "--address", "203.0.113.7")
    assert "Nothing was held" in await _fluxa(database, tmp_path, *unlock, "--address", "203.0.113.7")
    await attempts.begin("bob@example.org", "203.0.113.7")
    assert "ada@example.org may try again" in await _fluxa(database, tmp_path, *unlock, "ada@example.org")


@pytest.mark.req("SEC-4")
async def test_who_comes_while_too_many_log_in_is_not_locked_out_for_it(database: Database) -> None:
    clock = SystemClock()
    here = know_people(database, PostgresSessions(database, clock), Ledger(database), clock)
    came = From("198.51.100.7", "", new_correlation_id())
    await here.users.create("default", "ada@example.org", PHRASE, role=Role.ADMIN, by="cli")
    here.logins._passwords._waiting = 64
    for _ in range(25):  # more than a name has free, and an address
        with pytest.raises(FluxaError, match="Too many log in at once"):
            await here.logins.login("ada@example.org", PHRASE, came)
    here.logins._passwords._waiting = 0
    assert (await here.logins.login("ada@example.org", PHRASE, came)).user.name == "ada@example.org"
