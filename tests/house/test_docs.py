"""What the papers say can be done: commands exist, links lead somewhere, generated pages are fresh."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from fluxa.cli import main as cli
from house.reference_pages import DEPLOY, PAGES, REFERENCE
from house.tree import ROOT, files, name

BLOCK = re.compile(r"^```(?:console|sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
GENERATED = {"docs/validation-matrix.md"}
PATH = re.compile(r"`((?:src|tests|docs|bench|demo|lock|\.ci)/[\w./-]+|[\w]+/[\w/]+\.(?:py|sql))`")


def _pages() -> tuple[Path, ...]:
    return tuple(path for path in files() if path.suffix == ".md" and name(path) not in GENERATED)


def _commands() -> list[tuple[str, str]]:
    """Command lines of the papers with the page they stand on; a prompt and what follows a pipe are left out."""
    found = []
    for path in _pages():
        for block in BLOCK.findall(path.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.removeprefix("$ ").strip()
                if re.match(r"(?:[A-Z_]+=\S+\s+)*(?:fluxa|make)\b", text):
                    found.append((name(path), re.sub(r"^(?:[A-Z_]+=\S+\s+)+", "", text)))
    return found


@pytest.mark.parametrize(("page", "line"), _commands())
def test_a_command_in_the_papers_exists(page: str, line: str) -> None:
    words = shlex.split(re.split(r"\s[|>&#]|;|<", line)[0], comments=True)
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets, page
        return
    _parse(words[1:])


def _parse(words: list[str]) -> None:
    """Read a command line as the program would, without running it."""
    command = typer.main.get_command(cli.app)
    context = command.make_context("fluxa", words)
    while hasattr(command, "resolve_command"):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not rest:
            return
        word, command, rest = command.resolve_command(context, rest)
        context = command.make_context(word, rest, parent=context)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for line in ("fluxa nonsense", "fluxa settings --nonsense"):
        with pytest.raises(Exception, match=r"(?i)no such"):
            _parse(shlex.split(line)[1:])


def test_links_lead_somewhere() -> None:
    broken = [
        f"{name(path)}: {target}"
        for path in _pages()
        for target in LINK.findall(path.read_text("utf-8"))
        if "://" not in target
        and not target.startswith(("#", "mailto:"))
        and not (path.parent / target.partition("#")[0]).exists()
    ]
    assert not broken, "\n".join(broken)


def test_files_that_the_papers_name_exist() -> None:
    missing = [
        f"{name(path)}: {named}"
        for path in _pages()
        if path.parent != ROOT / "changes"
        for named in PATH.findall(path.read_text("utf-8"))
        if not any((base / named).exists() for base in (ROOT, ROOT / "src", ROOT / "src" / "fluxa"))
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", PAGES)
def test_generated_pages_are_fresh(page: str) -> None:
    assert (REFERENCE / page).read_text("utf-8") == PAGES[page](), "run make docs"


@pytest.mark.req("OBS-4")
@pytest.mark.parametrize("file", DEPLOY)
def test_generated_files_for_those_who_watch_are_fresh(file: str) -> None:
    assert (ROOT / "deploy" / file).read_text("utf-8") == DEPLOY[file](), "run make docs"


def test_there_is_nothing_else_among_the_generated_files() -> None:
    assert {name(path) for path in files() if name(path).startswith("deploy/")} == {f"deploy/{file}" for file in DEPLOY}


def test_every_page_can_be_found() -> None:
    """Each page under docs is linked from another one, so that a reader arrives there."""
    linked = {
        (path.parent / target.partition("#")[0]).resolve()
        for path in (*_pages(), ROOT / "docs" / "validation-matrix.md")
        for target in LINK.findall(path.read_text("utf-8"))
        if "://" not in target
    }
    lost = [
        name(path)
        for path in files()
        if path.suffix == ".md" and name(path).startswith("docs/") and path not in linked and path.parent not in linked
    ]
    assert not lost, f"linked from nowhere: {lost}"
