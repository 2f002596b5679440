"""`fluxa webhook` signs what it verifies, says why it refuses, and never prints a secret."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fluxa.cli.errors import REFUSED
from fluxa.cli.main import app

pytestmark = pytest.mark.req("STATION-auth")

SECRET = "the secret of a repository"  # noqa: S105 - a test's own


def _run(folder: Path, *words: str, code: int = 0) -> tuple[str, str]:
    found = CliRunner().invoke(app, ["--home", str(folder), "webhook", *words])
    assert found.exit_code == code, found.output
    assert SECRET not in found.output
    return found.stdout, found.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fluxa.toml").write_text(f'[webhook_secrets.github]\nsecrets = ["{SECRET}"]\n', "utf-8")
    (tmp_path / "body").write_bytes(b'{"id":"one"}')
    return tmp_path


def test_what_is_signed_is_verified(folder: Path) -> None:
    body = str(folder / "body")
    header, _ = _run(folder, "sign", "github", "--file", body)
    assert header.startswith("X-Hub-Signature-256: sha256=")
    found, _ = _run(folder, "verify", "github", "--file", body, "-H", header.strip(), "--json")
    assert json.loads(found)["message_id"] == "one"


def test_a_refusal_says_why(folder: Path) -> None:
    (folder / "other").write_bytes(b"{}")
    header, _ = _run(folder, "sign", "github", "--file", str(folder / "body"))
    _, said = _run(folder, "verify", "github", "--file", str(folder / "other"), "-H", header.strip(), code=REFUSED)
    assert "no signature is that of this message" in said
    _, said = _run(folder, "verify", "github", "--file", str(folder / "other"), code=REFUSED)
    assert "missing" in said


def test_a_secret_may_come_from_a_file_of_its_own(folder: Path) -> None:
    (folder / "secret").write_text("whsec_stripe_newest_0001\n", "utf-8")
    body = str(folder / "body")
    given = ("--secret-file", str(folder / "secret"), "--file", body, "--at", "1795330000")
    headers, _ = _run(folder, "sign", "stripe", *given, "--json")
    name, value = next(iter(json.loads(headers).items()))
    _run(folder, "verify", "stripe", *given, "-H", f"{name}: {value}")
    _, said = _run(folder, "sign", "nobody", code=4)
    assert "github" in said
