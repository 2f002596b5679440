"""`fluxa doctor` finds real faults of real servers, says what to do, and never shows a secret."""

import asyncio
import datetime as dt
import socket
from pathlib import Path

import asyncpg
import pytest
from typing_extensions import override

from fluxa.apps import settings
from fluxa.apps.operations.doctor import Finding, State, rounds, worst
from fluxa.apps.operations.doctor.examination import examine
from fluxa.apps.serving.identity import signing_keys
from fluxa.apps.stack import home
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.queue.backends.pgmq import PgmqBackend
from identity.openid import provider

pytestmark = pytest.mark.req("GATE-4")

HUSH = "hush-hush-0123456789"


class _Ahead(SystemClock):
    """A machine whose clock is ahead."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead = dt.timedelta(seconds=ahead_s)

    @override
    def now(self) -> dt.datetime:
        return super().now() + self._ahead


def _settings(home: Path, **given: object) -> settings.Effective:
    (home / "fluxa.toml").touch(0o600)
    return settings.load({"home": str(home), **given}, environment={}, working_folder=home)


async def _found(effective: settings.Effective, clock: SystemClock | None = None) -> dict[str, Finding]:
    found = await rounds(effective, clock or SystemClock(), timeout_s=15)
    assert HUSH not in repr(found)
    assert all(finding.action for finding in found if finding.state is not State.OK)
    return {finding.check: finding for finding in found}


async def test_a_sound_installation_is_ok(database: Database, database_url: str, tmp_path: Path) -> None:
    found = await _found(_settings(tmp_path, database_url=database_url))
    assert found["queue engine"].state is State.WARN
    await PgmqBackend(database, listener=None, notifier=None, clock=SystemClock()).create("events")
    found = await _found(_settings(tmp_path, database_url=database_url, cron_secrets=f"{HUSH},{HUSH}-before"))
    wrong = {name: finding for name, finding in found.items() if finding.state is not State.OK and name != "disk"}
    assert not wrong
    assert found["secret cron_secrets"].said == "set by the command line; sign the calls of cron jobs"
    assert "not set" in found["secret api_key"].said
    assert {"postgres", "clock", "migrations", "listener", "queue engine", "object store", "valkey"} <= set(found)


async def test_what_fluxa_up_made_in_the_home_counts_as_set(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    secret_key = f"{HUSH}-made-by-the-stack-itself"
    made = home.Credentials(
        tenant="default",
        key_id="0" * 16,
        api_key=f"fx_{'0' * 16}_{HUSH}{HUSH}",
        cron_secret=f"{HUSH}-cron",
        secret_key=secret_key,
    )
    file = home.write_credentials(tmp_path, made)
    sealed = _settings(tmp_path, database_url=database_url, secret_key=secret_key)
    await signing_keys(sealed.settings, database).ensure()
    found = await _found(_settings(tmp_path, database_url=database_url))
    for name in ("api_key", "cron_secrets", "secret_key"):
        assert found[f"secret {name}"].said.startswith(f"made by fluxa up, in {file}; "), name
    assert "started alone does not read it" in found["secret secret_key"].said
    assert found["signing keys"].said == "1 signs, and secret_key opens it"
    assert found["files with secrets"].state is State.OK
    assert (await _found(sealed))["secret secret_key"].said.startswith("set by the command line")

    file.chmod(0o644)
    assert str(file) in (await _found(_settings(tmp_path, database_url=database_url)))["files with secrets"].said
    file.write_text("{", "utf-8")
    damaged = await _found(_settings(tmp_path, database_url=database_url))
    assert damaged["home"].state is State.FAIL
    assert damaged["secret secret_key"].said.startswith("not set")


async def test_what_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    effective = _settings(
        tmp_path,
        database_url=f"postgresql://user:{HUSH}@127.0.0.1:{port}/none",
        valkey_url=f"valkey://user:{HUSH}@127.0.0.1:{port}/0",
        external_queues=f'{{"q": {{"url": "http://127.0.0.1:{port}/?key={HUSH}", "bearer": "{HUSH}"}}}}',
        alarm_targets=f'{{"pager": {{"kind": "webhook", "url": "http://127.0.0.1:{port}/{HUSH}"}}}}',
    )
    found = await _found(effective)
    for check in ("postgres", "valkey", "endpoint q", "endpoint of alarms: pager"):
        assert found[check].state is State.FAIL, check
    assert worst(found.values()) is State.FAIL


async def test_the_openid_provider_is_tried(tmp_path: Path) -> None:
    given = {"oidc_client_id": "here", "oidc_redirect_url": "https://station.example/api/auth/oidc/callback"}
    async with provider() as outside:
        effective = _settings(tmp_path, oidc_issuer=outside.url, oidc_client_secret=HUSH, **given)
        found = (await _found(effective))["OpenID provider"]
        assert (found.state, "publishes 1 keys" in found.said) == (State.OK, True)
        for about in ({"issuer": "https://other.example"}, {"jwks_uri": f"{outside.url}/gone"}):
            outside.about = about
            assert (await _found(effective))["OpenID provider"].state is State.FAIL
    assert (await _found(effective))["OpenID provider"].state is State.FAIL
    assert (await _found(_settings(tmp_path)))["OpenID provider"].said == "not used"


async def test_an_embedded_database_that_sleeps_is_unknown_and_not_started(tmp_path: Path) -> None:
    found = await _found(_settings(tmp_path))
    assert found["postgres"].state is State.UNKNOWN
    assert "fluxa up" in found["postgres"].action
    assert "migrations" not in found


@pytest.mark.parametrize(("ahead_s", "state"), [(5, State.WARN), (-5, State.WARN), (-100, State.FAIL), (0, State.OK)])
async def test_clocks_that_differ_are_told(database_url: str, tmp_path: Path, ahead_s: float, state: State) -> None:
    found = await _found(_settings(tmp_path, database_url=database_url), _Ahead(ahead_s))
    assert found["clock"].state is state
    assert (ahead_s <= 0) or ("behind" in found["clock"].said)


async def test_migrations_that_lack_or_are_unknown_are_told(database_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database_url)
    effective = _settings(tmp_path, database_url=database_url)
    await connection.execute(
        "insert into fluxa.migrations (number, phase, name, checksum) values (9999, 'pre', 'x', 'x')"
    )
    assert (await _found(effective))["migrations"].state is State.FAIL
    await connection.execute("delete from fluxa.migrations where number >= 2")
    lacking = (await _found(effective))["migrations"]
    assert (await _found(effective))["API keys"].state is State.UNKNOWN
    assert (lacking.state, lacking.action) == (State.FAIL, "Run: fluxa db migrate")
    await connection.close()


async def test_ends_forms_and_open_files_are_told(database_url: str, tmp_path: Path) -> None:
    effective = _settings(
        tmp_path,
        database_url=database_url,
        api_key=HUSH,
        cron_secrets=HUSH,
        sqs_access_key_id=HUSH,
        sqs_secret_access_key=HUSH,
        secret_notes='{"cron_secrets": {"owner": "the night shift", "expires": "2026-01-01"},'
        ' "sqs_secret_access_key": {"expires": "%s"}}' % (SystemClock().now().date() + dt.timedelta(days=9)),
    )
    found = await _found(effective)
    assert found["secret api_key"].state is State.FAIL
    assert "its end was 2026-01-01" in found["secret cron_secrets"].said
    assert "the night shift" in found["secret cron_secrets"].action
    assert found["secret sqs_secret_access_key"].state is State.WARN
    (tmp_path / "cron").write_text(HUSH, "utf-8")
    (tmp_path / "cron").chmod(0o644)
    loose = _settings(tmp_path, database_url=database_url, secret_files='{"cron_secrets": "%s"}' % (tmp_path / "cron"))
    assert (await _found(loose))["files with secrets"].state is State.WARN


async def test_api_keys_that_end_and_keys_sealed_with_an_older_secret_are_told(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    older, newer = "the secret that sealed the keys until now", "the secret that seals the keys from now on"

    async def found(secret_key: str) -> dict[str, Finding]:
        return await _found(_settings(tmp_path, database_url=database_url, secret_key=secret_key))

    assert (await found(older))["signing keys"].said == "none was made yet"
    await signing_keys(_settings(tmp_path, secret_key=older).settings, database).ensure()
    keys = ApiKeys(database)
    await keys.create("acme", "lasts", role=Role.ANALYST)
    assert {name: (await found(older))[name].state for name in ("signing keys", "API keys")} == {
        "signing keys": State.OK,
        "API keys": State.OK,
    }
    ends = await keys.create("acme", "ends", role=Role.ANALYST, expires_in_s=86400.0)
    told = await found(f"{newer},{older}")
    assert told["signing keys"].state is State.WARN
    assert told["API keys"].state is State.WARN
    assert ends.key.key_id in told["API keys"].said
    assert (await found(newer))["signing keys"].state is State.FAIL


async def test_a_check_that_hangs_breaks_or_quotes_a_secret_is_one_finding() -> None:
    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def breaks() -> list[Finding]:
        raise RuntimeError(f"cannot log in with {HUSH}")

    async def refuses() -> list[Finding]:
        raise FluxaError(ErrorCode.DB_CONNECTION_ERROR, f"no way in with {HUSH}")

    checks = {"hangs": hangs, "breaks": breaks, "refuses": refuses}
    found = await examine(checks, timeout_s=0.2, clock=SystemClock(), hidden=[HUSH])
    assert [finding.state for finding in found] == [State.UNKNOWN, State.UNKNOWN, State.FAIL]
    assert HUSH not in repr(found)
    assert "****" in found[1].said
