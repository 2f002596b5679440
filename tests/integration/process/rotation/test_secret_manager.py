"""Secrets that a secret manager holds: read at the start, read again while running, and kept when it goes away."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from aiobotocore.session import get_session

from aws.servers import KEY, REGION, SECRET, Ministack, free_port
from fluxa.apps import settings
from fluxa.apps.operations.doctor import Finding, State, rounds
from fluxa.apps.settings.managed import read_managed
from fluxa.apps.station import station
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from integration.process.rotation.stand import Heard, load, running
from making.callers.calls import OLDER, signed
from making.callers.calls import SECRET as NEWER

pytestmark = [pytest.mark.req("SEC-5", "GATE-4")]

PATH = "/process-queues?budget_s=0.1"


@pytest.fixture(autouse=True)
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine is allowed, as a role would say."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


async def _keep(url: str, name: str, text: str, *, is_new: bool = True) -> None:
    made = get_session().create_client("secretsmanager", endpoint_url=url, region_name=REGION)
    async with made as client:
        if is_new:
            await client.create_secret(Name=name, SecretString=text)
        else:
            await client.put_secret_value(SecretId=name, SecretString=text)


def _load(folder: Path, url: str, names: dict[str, str], **given: object) -> settings.Effective:
    chosen = {
        "home": str(folder),
        "managed_secrets": json.dumps(names),
        "secret_manager_endpoint": url,
        "secret_manager_region": REGION,
        "secret_manager_reload_s": 0.1,
        **given,
    }
    managed = bool(chosen.pop("managed", True))
    return settings.load(chosen, environment={}, working_folder=folder, managed=managed)


async def test_what_it_holds_is_taken_up_while_calls_come_and_kept_when_it_is_away(
    own_ministack: Ministack, database: Database, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    name = f"fluxa-{uuid.uuid4().hex}"
    await _keep(own_ministack.url, name, json.dumps({"cron": OLDER, "database": database.config.url}))
    names = {"cron_secrets": f"{name}#cron", "database_url": f"{name}#database"}
    found = _load(tmp_path, own_ministack.url, names, station_port=unused_tcp_port)
    assert found.settings.cron_secret_list == (OLDER.encode(),)
    assert found.sources["cron_secrets"] == "secret manager"
    child = settings.environment_of(found.settings)
    assert "FLUXA_CRON_SECRETS" not in child
    assert OLDER not in repr(child)
    async with (
        running(station, found.settings, unused_tcp_port) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
    ):

        def calling(secret: str) -> Callable[[], object]:
            async def call() -> str:
                answer = await client.post(PATH, headers=signed(PATH, secret=secret))
                return answer.text if answer.status_code == httpx.codes.UNAUTHORIZED else ""

            return call

        async with load() as calls:
            calls.begin(calling(OLDER), callers=1)  # type: ignore[arg-type]
            await calls.more(3)
            both = {"cron": f"{NEWER},{OLDER}", "database": database.config.url}
            await _keep(own_ministack.url, name, json.dumps(both), is_new=False)
            await heard.taken_up("cron_secrets")
            calls.begin(calling(NEWER), callers=1)  # type: ignore[arg-type]
            await calls.more(3)
            own_ministack.stop()
            await heard.until("secrets not taken up", "", source="secret manager")
            await calls.more(3)


@pytest.mark.parametrize(
    ("part", "said"), [("#nothing", "is no JSON object with nothing"), ("-not", "has no secret"), ("", "it needs 16")]
)
async def test_what_cannot_be_used_keeps_a_process_from_starting(
    ministack: Ministack, tmp_path: Path, part: str, said: str
) -> None:
    name = f"fluxa-{uuid.uuid4().hex}"
    await _keep(ministack.url, name, "hush")
    with pytest.raises(FluxaError, match=said) as caught:
        _load(tmp_path, ministack.url, {"cron_secrets": f"{name}{part}"})
    assert caught.value.code == ErrorCode.CONFIGURATION
    assert "hush" not in caught.value.detail


def test_a_manager_that_does_not_answer_is_told_plainly_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FluxaError, match=r"cannot be reached.*It holds cron_secrets") as caught:
        _load(tmp_path, f"http://127.0.0.1:{free_port()}", {"cron_secrets": "fluxa/cron"})
    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [({"ingest_port": "x"}, {}, "no secret"), ({"cron_secrets": "x"}, {"cron_secrets": OLDER}, "give it once")],
)
def test_names_that_cannot_be_right_are_refused(
    tmp_path: Path, names: dict[str, str], given: dict[str, object], said: str
) -> None:
    with pytest.raises(FluxaError, match=said):
        _load(tmp_path, "http://127.0.0.1:1", names, managed=False, **given)


async def test_the_doctor_says_whether_it_answers_and_shows_nothing(
    ministack: Ministack, database_url: str, tmp_path: Path
) -> None:
    name = f"fluxa-{uuid.uuid4().hex}"
    await _keep(ministack.url, name, f"{OLDER}")
    (tmp_path / "fluxa.toml").touch(0o600)

    async def found(url: str) -> dict[str, Finding]:
        effective = _load(tmp_path, url, {"cron_secrets": name}, managed=False, database_url=database_url)
        findings = await rounds(effective, SystemClock(), timeout_s=20)
        assert OLDER not in repr(findings)
        return {finding.check: finding for finding in findings}

    there = await found(ministack.url)
    assert (there["secret manager"].state, there["secret cron_secrets"].state) == (State.OK, State.OK)
    assert "set by the secret manager" in there["secret cron_secrets"].said
    away = await found(f"http://127.0.0.1:{free_port()}")
    assert (away["secret manager"].state, away["secret cron_secrets"].state) == (State.FAIL, State.UNKNOWN)


async def test_settings_may_be_parts_of_one_secret_and_tables_stand_in_it_as_such(
    ministack: Ministack, tmp_path: Path
) -> None:
    name = f"fluxa-{uuid.uuid4().hex}"
    table = {"q": {"url": "https://example.org/take", "bearer": "a bearer"}}
    await _keep(ministack.url, name, json.dumps({"cron": OLDER, "queues": table}))
    names = {"cron_secrets": f"{name}#cron", "external_queues": f"{name}#queues"}
    chosen = _load(tmp_path, ministack.url, names, managed=False).settings
    found = await read_managed(chosen)
    assert (found["cron_secrets"], json.loads(found["external_queues"])) == (OLDER, table)
