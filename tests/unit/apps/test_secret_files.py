"""Secrets come from files of their own, are read again, and never show in an error."""

from pathlib import Path

import pytest

from fluxa.apps import settings
from fluxa.kernel.errors import ErrorCode, FluxaError

pytestmark = pytest.mark.req("SEC-5")


def _load(folder: Path, text: str = "", **variables: str) -> settings.Effective:
    (folder / "fluxa.toml").write_text(text, "utf-8")
    return settings.load({"home": str(folder)}, environment=variables, working_folder=folder)


def _file(folder: Path, text: str) -> str:
    (folder / "secret").write_text(text, "utf-8")
    return str(folder / "secret")


def test_a_variable_names_the_file_of_a_secret(tmp_path: Path) -> None:
    path = _file(tmp_path, "the newest secret,the secret before\n")
    found = _load(tmp_path, FLUXA_CRON_SECRETS_FILE=path)
    assert found.settings.cron_secret_list == (b"the newest secret", b"the secret before")
    assert found.sources["cron_secrets"] == "secret file"


def test_the_settings_file_names_it_too_and_tables_are_json(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"github": {"secrets": ["the secret of a repository"]}}')
    found = _load(tmp_path, f'[secret_files]\nwebhook_secrets = "{path}"\n')
    assert found.settings.webhook_secrets["github"].secrets == ("the secret of a repository",)


def test_a_file_is_read_again(tmp_path: Path) -> None:
    first = _load(tmp_path, FLUXA_CRON_SECRETS_FILE=_file(tmp_path, "the secret before")).settings
    _file(tmp_path, "the newest secret,the secret before")
    again = settings.with_secrets(first, settings.read_secrets(first.secret_files))
    assert again.cron_secret_list == (b"the newest secret", b"the secret before")
    assert settings.with_secrets(again, settings.read_secrets(again.secret_files)) == again


def test_a_child_process_reads_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.FILE_VARIABLE, raising=False)
    parent = _load(tmp_path, FLUXA_CRON_SECRETS_FILE=_file(tmp_path, "the secret before")).settings
    child = settings.environment_of(parent)
    assert "FLUXA_CRON_SECRETS" not in child
    again = settings.load(environment={name: value for name, value in child.items() if name.startswith("FLUXA_")})
    assert again.settings == parent


@pytest.mark.parametrize(
    ("content", "variables", "said"),
    [
        ("hush", {}, "it needs 16"),
        ("", {}, "is empty"),
        ("x" * 70_000, {}, "larger than"),
        ("hush hush hush hush", {"FLUXA_CRON_SECRETS": "hush hush hush hush"}, "give it once"),
        (None, {}, "cannot be read"),
        ("hush hush hush hush", {"FLUXA_SECRET_FILES": '{"ingest_port": "x"}'}, "no secret setting"),
    ],
)
def test_what_cannot_be_used_is_refused_and_not_shown(
    tmp_path: Path, content: str | None, variables: dict[str, str], said: str
) -> None:
    path = str(tmp_path / "nothing") if content is None else _file(tmp_path, content)
    with pytest.raises(FluxaError) as caught:
        _load(tmp_path, FLUXA_CRON_SECRETS_FILE=path, **variables)
    assert caught.value.code == ErrorCode.CONFIGURATION
    assert said in caught.value.detail
    assert "hush" not in caught.value.detail


def test_the_file_of_what_is_no_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FluxaError, match="no setting"):
        _load(tmp_path, FLUXA_INGEST_PORT_FILE=_file(tmp_path, "1"))
