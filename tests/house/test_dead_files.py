"""A module that nobody imports is dead, unless it is a way in."""

import tomllib
from pathlib import Path

from house.tree import ROOT, SOURCE, files, imported_names, module_name, name, python_files, strings


def _entry_points() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {"fluxa", "fluxa.__main__", *(target.partition(":")[0] for target in project["scripts"].values())}


def _imported(*folders: str) -> set[str]:
    return {found for path in python_files(*folders) for found in imported_names(path) if path.name != "__main__.py"}


def _commands() -> set[str]:
    """Command groups are imported by the name that the entry point lists for them."""
    return {f"fluxa.cli.commands.{node.value!s}" for node in strings(SOURCE / "cli" / "main.py")}


def test_every_module_is_reached() -> None:
    alive = _entry_points() | _commands() | _imported("src")
    kit = _imported("tests", "bench", "demo")  # fluxa.testing is for those who test
    dead = [
        name(path)
        for path in python_files("src")
        if path.name != "__init__.py"
        and module_name(path) not in alive
        and not (module_name(path).startswith("fluxa.testing.") and module_name(path) in kit)
    ]
    assert not dead, "\n".join(dead)


def test_no_folder_is_an_empty_shell() -> None:
    shells = [
        name(folder)
        for folder in _folders()
        if not any(folder in path.parents and path.name != "__init__.py" for path in files())
    ]
    assert not shells, f"folders without a line of code: {shells}"


def _folders() -> set[Path]:
    return {path.parent for path in python_files("src") if path.name == "__init__.py"}
