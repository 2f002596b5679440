"""The floors are kept by import-linter; here it is shown that they are complete and that they can break."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from house.tree import ROOT, SOURCE

LINTER = Path(sys.executable).with_name("lint-imports")
EXPECTED = {
    "The house stands on its floors",
    "No circles, at any depth",
    "Slices do not know each other",
    "Inside a slice: doors above, store and rules below",
    "Only apps and testing name a backend or a vendor",
    "Rules are pure",
    "The kernel needs nothing but msgspec",
}

# Each plant is a wrong import: the file that gets it, the line, and the arrow that the linter must name.
PLANTS = (
    ("kernel/ids.py", "import fluxa.postgres.pool", "fluxa.kernel.ids -> fluxa.postgres.pool"),
    ("queue/policy.py", "import fluxa.postgres.sql", "fluxa.queue.policy -> fluxa.postgres.sql"),
    ("events/ingest/__init__.py", "import fluxa.events.process", "fluxa.events.ingest -> fluxa.events.process"),
    ("web/routes.py", "import fluxa.queue.backends", "fluxa.web.routes -> fluxa.queue.backends"),
    ("kernel/clock.py", "import httpx", "fluxa.kernel.clock -> httpx"),
    ("queue/record.py", "import fluxa.queue.backend", "fluxa.queue"),
)


def _contracts() -> list[dict[str, object]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts: list[dict[str, object]] = settings["tool"]["importlinter"]["contracts"]
    return contracts


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["env", f"PYTHONPATH={folder / 'src'}", "COLUMNS=200", LINTER, "--no-cache"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_every_contract_stands_and_none_ignores_anything() -> None:
    contracts = _contracts()
    assert {contract["name"] for contract in contracts} == EXPECTED
    for contract in contracts:
        assert "ignore_imports" not in contract, contract["name"]
    floors = next(contract for contract in contracts if contract["name"] == "The house stands on its floors")
    assert floors["exhaustive"] is True


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's source in a folder where it may be spoilt."""
    shutil.copytree(SOURCE, tmp_path / "src" / "fluxa", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_wrong_imports_break_the_contracts(copy: Path) -> None:
    for file, line, _ in PLANTS:
        path = copy / "src" / "fluxa" / file
        path.write_text(f"{path.read_text('utf-8')}\n{line}\n", "utf-8")
    result = _lint(copy)
    assert result.returncode != 0
    for file, _, arrow in PLANTS:
        assert arrow in result.stdout, f"{file}: no contract saw {arrow}\n{result.stdout}"


def test_a_room_without_a_floor_breaks_the_contract(copy: Path) -> None:
    room = copy / "src" / "fluxa" / "attic"
    room.mkdir()
    (room / "__init__.py").write_text('"""A room that nobody planned."""\n', "utf-8")
    result = _lint(copy)
    assert result.returncode != 0
    assert "fluxa.attic" in result.stdout
