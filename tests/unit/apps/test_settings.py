"""Settings: their order, their refusals, and that no secret is shown."""

from pathlib import Path

import pytest

from fluxa.apps import settings
from fluxa.apps.settings import text as settings_text
from fluxa.kernel.errors import ErrorCode, FluxaError

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def _load(tmp_path: Path, environment: dict[str, str] | None = None, **given: object) -> settings.Effective:
    variables = {"FLUXA_HOME": str(tmp_path / "home"), **(environment or {})}
    return settings.load(given, environment=variables, working_folder=tmp_path)


def test_without_anything_the_defaults_are_in_force(tmp_path: Path) -> None:
    found = settings.load(environment={}, working_folder=tmp_path)
    assert found.settings == settings.Settings()
    assert set(found.sources.values()) == {"default"}


def test_nothing_listens_beyond_loopback_by_default() -> None:
    defaults = settings.Settings()
    hosts = {getattr(defaults, name) for name in settings.NAMES if name.endswith("_host")}
    assert hosts == {"127.0.0.1"}


def test_the_file_is_over_defaults_the_environment_over_the_file_and_options_over_all(tmp_path: Path) -> None:
    (tmp_path / "fluxa.toml").write_text("lease_s = 11\nretry_cap_s = 12.5\ningest_port = 1\n")
    found = _load(tmp_path, {"FLUXA_RETRY_CAP_S": "13", "FLUXA_INGEST_PORT": "2"}, ingest_port=3)
    assert (found.settings.lease_s, found.settings.retry_cap_s, found.settings.ingest_port) == (11.0, 13.0, 3)
    assert (found.sources["lease_s"], found.sources["retry_cap_s"], found.sources["ingest_port"]) == (
        "file",
        "environment",
        "command line",
    )
    assert found.file == tmp_path / "fluxa.toml"


def test_the_file_in_the_home_goes_before_the_one_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "fluxa.toml").write_text("lease_s = 5\n")
    (tmp_path / "fluxa.toml").write_text("lease_s = 6\n")
    assert _load(tmp_path).settings.lease_s == 5


def test_the_named_file_goes_before_all_others(tmp_path: Path) -> None:
    (tmp_path / "fluxa.toml").write_text("lease_s = 6\n")
    named = tmp_path / "other.toml"
    named.write_text("lease_s = 7\n")
    assert _load(tmp_path, {"FLUXA_SETTINGS": str(named)}).settings.lease_s == 7


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert _load(tmp_path, {"FLUXA_DATABASE_URL": ""}).settings.database_url is None


def test_text_of_the_environment_becomes_what_the_setting_wants(tmp_path: Path) -> None:
    found = _load(tmp_path, {"FLUXA_DATABASE_PREPARED": "false", "FLUXA_DATABASE_POOL_MAX": "9"})
    assert found.settings.database_prepared is False
    assert found.settings.database_pool_max == 9


@pytest.mark.parametrize(
    ("environment", "given", "text"),
    [
        ({"FLUXA_INGESTPORT": "1"}, {}, "FLUXA_INGESTPORT, which is no setting. Did you mean FLUXA_INGEST_PORT?"),
        ({"FLUXA_INGEST_PORT": "x"}, {}, "The environment sets ingest_port to 'x': Expected `int`"),
        ({"FLUXA_INGEST_PORT": "65536"}, {}, "<= 65535"),
        ({"FLUXA_LEASE_S": "0"}, {}, ">= 1"),
        ({"FLUXA_SETTINGS": "/does/not/exist.toml"}, {}, "/does/not/exist.toml, which does not exist"),
        ({}, {"log_level": "loud"}, "Invalid enum value 'loud'"),
        ({}, {"lease": 1}, "Did you mean lease_s?"),
        ({}, {"cron_secrets": "long enough to be one,short"}, "cron_secrets has a secret of 5 characters"),
        ({}, {"queue_processor_override_token": "short"}, "queue_processor_override_token has a secret of 5"),
        ({}, {"queue_processor_legacy_mode": True}, "queue_processor_legacy_secret is not set"),
        (
            {"FLUXA_CRON_SECRETS": "one of 16 letters"},
            {"queue_processor_override_token": "one of 16 letters"},
            "are the same",
        ),
        ({}, {"database_pool_min": 9, "database_pool_max": 8}, "database_pool_min is 9, which is more than"),
    ],
)
def test_what_is_wrong_is_refused_with_its_name_and_the_nearest_known_one(
    tmp_path: Path, environment: dict[str, str], given: dict[str, object], text: str
) -> None:
    with pytest.raises(FluxaError) as caught:
        _load(tmp_path, environment, **given)
    assert caught.value.code == ErrorCode.CONFIGURATION
    assert text in caught.value.detail


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("lease_s = ", "is not valid TOML"),
        ("lease = 3", "Did you mean lease_s?"),
        ('lease_s = "3"', "sets lease_s to '3': Expected `float`"),
        ("ingest_port = true", "Expected `int`"),
    ],
)
def test_a_wrong_file_is_refused_and_named(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "fluxa.toml"
    file.write_text(content)
    with pytest.raises(FluxaError, match=str(file)) as caught:
        _load(tmp_path)
    assert text in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/d",
        "postgres://h/d",
        "postgresql:///d?host=/run/x",
        "postgresql://fluxa@/fluxa?host=%2Ftmp%2Frun&port=5432",
        "postgresql://u:p%2Fq@h1:1,h2:2/d",
        "postgresql://[::1]:5432/d",
        "postgresql://h",
    ],
)
def test_a_database_url_of_any_valid_form_is_taken(tmp_path: Path, url: str) -> None:
    assert _load(tmp_path, {"FLUXA_DATABASE_URL": url}).settings.database_url == url


@pytest.mark.parametrize(
    "url", ["h/d", "mysql://h/d", "postgresql://h:geheim/d", "postgresql://u:ge/heim@h/d", "postgresql://u@geheim@h/d"]
)
def test_any_other_is_refused_without_being_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(FluxaError, match="database_url is not of the form") as caught:
        _load(tmp_path, {"FLUXA_DATABASE_URL": url})
    assert url not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_wrong_secret_is_not_repeated_in_the_refusal(tmp_path: Path) -> None:
    (tmp_path / "fluxa.toml").write_text("api_key = 123454321\n")
    with pytest.raises(FluxaError) as caught:
        _load(tmp_path)
    assert "123454321" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("database_url", "postgresql://me:s3cr:et@host/db", "postgresql://me:****@host/db"),
        ("database_url", "postgresql://me@host/db?password=s3cret&x=1", "postgresql://me@host/db?password=****&x=1"),
        ("database_url", "host=x password=s3cret", "****"),
        ("api_key", "s3cret", "****"),
        ("api_key", None, "none"),
        ("lease_s", 3.0, "3.0"),
        ("database_prepared", True, "true"),
    ],
)
def test_secrets_are_masked(name: str, value: object, shown: str) -> None:
    assert settings_text.masked(name, value) == shown


def test_every_setting_is_described_and_a_number_has_a_range() -> None:
    for name in settings.NAMES:
        assert settings_text.description(name).endswith("."), name
        assert "None" not in settings_text._range(name), name


def test_a_child_process_sees_exactly_its_parents_settings(tmp_path: Path) -> None:
    (tmp_path / "fluxa.toml").write_text("lease_s = 99\n")
    parent = _load(tmp_path, database_prepared=False, ingest_port=0).settings
    (tmp_path / "fluxa.toml").write_text("lease_s = 1\n")
    child = settings.load(environment=settings.environment_of(parent), working_folder=tmp_path)
    assert child.settings == parent


def test_the_reference_page_is_the_generated_one() -> None:
    assert _PAGE.read_text("utf-8") == settings_text.markdown(), "run: fluxa settings --markdown"


def test_cron_secrets_are_one_or_several_and_never_shown(tmp_path: Path) -> None:
    found = _load(tmp_path, {"FLUXA_CRON_SECRETS": " newest-0123456789 , http://u:older-0123456789@h"})
    assert found.settings.cron_secret_list == (b"newest-0123456789", b"http://u:older-0123456789@h")
    assert found.settings.cron_secrets is not None
    assert settings_text.masked("cron_secrets", found.settings.cron_secrets) == "****"
    assert settings.Settings().cron_secret_list == ()
