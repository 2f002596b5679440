"""Endpoints of external queues come from the file or as JSON, reach child processes, and hide their secrets."""

from pathlib import Path

import pytest

from fluxa.apps import settings
from fluxa.apps.engines import external_queues
from fluxa.apps.settings.text import masked, rows
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import Lifetime
from fluxa.queue.registry import built_in
from fluxa.telemetry.catalogue import silent

pytestmark = pytest.mark.req("QUEUE-13")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example
FILE = f"""
[external_queues.package_generation]
url = "https://hooks.example/package?key=hush"
bearer = "service-role-hush"
secrets = ["{SECRET}"]
timeout_s = 20
rate_per_s = 2.5
"""


def load(folder: Path, text: str = "", **variables: str) -> settings.Effective:
    (folder / "fluxa.toml").write_text(text, "utf-8")
    return settings.load({"home": str(folder)}, environment=variables, working_folder=folder)


def test_a_table_of_the_file_is_read(tmp_path: Path) -> None:
    found = load(tmp_path, FILE).settings.external_queues["package_generation"]
    assert (found.bearer, found.secrets, found.timeout_s, found.rate_per_s) == (
        "service-role-hush",
        (SECRET,),
        20.0,
        2.5,
    )
    assert (found.allow_private, found.dedupe_s, found.burst) == (False, 86400.0, 1)


def test_a_child_process_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.FILE_VARIABLE, raising=False)
    parent = load(tmp_path, FILE).settings
    child = settings.environment_of(parent)
    again = settings.load(environment={name: value for name, value in child.items() if name.startswith("FLUXA_")})
    assert again.settings.external_queues == parent.external_queues
    assert again.settings == parent


def test_secrets_are_there_but_not_shown(tmp_path: Path) -> None:
    row = next(row for row in rows(load(tmp_path, FILE)) if row["name"] == "external_queues")
    assert "hush" not in row["value"]
    assert SECRET not in row["value"]
    assert '"bearer":"****","secrets":["****"]' in row["value"]
    assert "https://hooks.example/package?****" in row["value"]
    assert masked("external_queues", {}) == "none"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"q": {"url": "https://hooks.example", "secret": "hush"}}', "secret"),
        ('{"q": {"url": "https://hooks.example", "timeout_s": "hush"}}', "timeout_s"),
        ('{"q": {"url": "https://hooks.example", "rate_per_s": 0}}', "rate_per_s"),
        ('{"q": {"bearer": "hush"}}', "url"),
        ('["hush"]', "array"),
        ('{"q": hush}', "malformed"),
        ("hush", "malformed"),
    ],
)
def test_what_fits_no_endpoint_is_refused_and_not_shown(tmp_path: Path, value: str, said: str) -> None:
    with pytest.raises(FluxaError) as caught:
        load(tmp_path, FLUXA_EXTERNAL_QUEUES=value)
    assert caught.value.code == ErrorCode.CONFIGURATION
    assert "external_queues" in caught.value.detail
    assert said in caught.value.detail
    assert "hush" not in caught.value.detail


async def test_each_table_becomes_an_endpoint(tmp_path: Path) -> None:
    life = Lifetime()
    try:
        made = await external_queues(life, load(tmp_path, FILE).settings, built_in(), clock=SystemClock(), hook=silent)
    finally:
        await life.stop()
    assert set(made) == {"package_generation"}
    assert (made["package_generation"].timeout_s, made["package_generation"].dedupe_s) == (20.0, 86400.0)


async def test_an_endpoint_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    given = load(tmp_path, FILE.replace("https:", "http:")).settings
    with pytest.raises(FluxaError, match="https URL") as caught:
        await external_queues(Lifetime(), given, built_in(), clock=SystemClock(), hook=silent)
    assert "hush" not in caught.value.detail
