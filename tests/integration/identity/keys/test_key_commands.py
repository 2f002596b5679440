"""`fluxa apikey` and `fluxa service-account`: from the command line to what the database holds and the ledger tells."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.auth.principal import DeniedError
from fluxa.cli.main import app as commands
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database

pytestmark = pytest.mark.req("STATION-auth", "SEC-5")


class Shell:
    """Runs commands against one database."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._given = ["--home", str(folder), "--set", f"database_url={database.config.url}"]

    async def run(self, *words: str) -> str:
        found = await asyncio.to_thread(CliRunner().invoke, commands, [*self._given, *words])
        assert found.exit_code == 0, found.output
        return found.output

    async def fails(self, *words: str) -> str:
        found = await asyncio.to_thread(CliRunner().invoke, commands, [*self._given, *words])
        assert found.exit_code != 0
        return found.output

    async def json(self, *words: str) -> Any:  # noqa: ANN401 - whatever the command prints
        return json.loads(await self.run(*words, "--json"))


async def test_a_key_is_made_narrowed_rotated_and_listed(database: Database, tmp_path: Path) -> None:
    shell, guard = Shell(database, tmp_path), KeyGuard(ApiKeys(database), SystemClock())
    made = await shell.json(
        *("apikey", "create", "--name", "shop", "--scope", "events:write", "--scope", "events:read"),
        *("--expires-in-days", "30"),
    )
    who = await guard.verify(made["api_key"])
    assert who is not None
    assert sorted(who.scopes or ()) == ["events:read", "events:write", "own"]
    assert (made["role"], made["scopes"]) == ("integration", ["events:read", "events:write"])
    assert "is no scope" in await shell.fails("apikey", "create", "--scope", "everything")

    turned = await shell.json("apikey", "rotate", made["key_id"], "--overlap-s", "60", "--expires-in-days", "90")
    assert turned["expires_at"] > made["expires_at"]
    for token in (made["api_key"], turned["api_key"]):
        assert await guard.verify(token)
    assert "another rotation" in " ".join((await shell.fails("apikey", "rotate", made["key_id"])).split())
    cut = (await shell.json("apikey", "rotate", made["key_id"], "--overlap-s", "0"))["api_key"]
    guard.doubt()
    assert await guard.verify(cut)
    with pytest.raises(DeniedError):
        await guard.verify(turned["api_key"])
    table = await shell.run("apikey", "list")
    assert "events:read events:write" in table
    assert cut.split("_", 2)[2] not in table
    assert "no valid key" in await shell.fails("apikey", "rotate", "0" * 16)


async def test_a_service_account_owns_keys_and_ends_with_them(database: Database, tmp_path: Path) -> None:
    shell = Shell(database, tmp_path)
    assert "There are none" in await shell.run("service-account", "list")
    account = await shell.json("service-account", "create", "billing", "--role", "integration")
    made = await shell.json("apikey", "create", "--service-account", "billing")
    assert (made["account"], made["role"]) == ("billing", "integration")
    assert "is integration" in await shell.fails("apikey", "create", "--service-account", "billing", "--role", "admin")
    assert "1 of its keys have ended" in await shell.run("service-account", "disable", "billing")
    assert "is disabled" in await shell.fails("apikey", "create", "--service-account", "billing")
    assert (await shell.json("apikey", "list"))["revoked_at"]
    assert (await shell.json("service-account", "list"))["disabled"]
    await shell.run("service-account", "enable", "billing")
    assert "yes" not in await shell.run("service-account", "list")
    acts = await database.fetch("select action, subject, actor from fluxa.ledger order by number")
    subject = f"service_account:{account['account_id']}"
    assert [(row["action"], row["subject"]) for row in acts] == [
        ("service_account.created", subject),
        ("api_key.created", f"api_key:{made['key_id']}"),
        ("service_account.disabled", subject),
        ("service_account.enabled", subject),
    ]
    assert all(row["actor"].startswith("cli:") for row in acts)
