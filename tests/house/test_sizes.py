"""Nothing grows beyond what a reader can hold: functions, files, folders, module docstrings."""

import ast
import re
from collections import Counter
from pathlib import Path

from house.tree import ROOT, files, functions, name, python_files, syntax

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
FOLDER_ENTRIES_MAX = 12
DOCSTRING_SENTENCES_MAX = 3
LAW_LINES_MAX = 150

# The root is laid out by convention, the package by its floors and its unit tests by the package; the others are lists
# that grow with each change.
UNLIMITED_FOLDERS = {".", "src/fluxa", "tests/unit", "changes", "docs/decisions", "src/fluxa/postgres/migrations"}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name} has {length} lines"
        for path in python_files()
        for node in functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_no_source_file_is_too_long() -> None:
    long = [
        f"{name(path)} has {lines} lines"
        for path in files()
        if path.suffix in {".py", ".sql", ".sh"}
        and (lines := len(path.read_text("utf-8").splitlines())) > FILE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_no_folder_is_too_full() -> None:
    entries: dict[str, set[str]] = {}
    for path in files():
        parts = path.relative_to(ROOT).parts
        for depth in range(len(parts)):
            if parts[depth] != "__init__.py":
                entries.setdefault(Path(*parts[:depth]).as_posix(), set()).add(parts[depth])
    full = [
        f"{folder} has {len(inside)} entries: {', '.join(sorted(inside))}"
        for folder, inside in entries.items()
        if folder not in UNLIMITED_FOLDERS and len(inside) > FOLDER_ENTRIES_MAX
    ]
    assert not full, "\n".join(full)


def test_every_module_says_in_one_to_three_sentences_what_it_holds() -> None:
    wrong: Counter[str] = Counter()
    for path in python_files():
        text = ast.get_docstring(syntax(path)) or ""
        sentences = len(re.findall(r"[.!?](?:\s|\Z)", text))
        if not 1 <= sentences <= DOCSTRING_SENTENCES_MAX:
            wrong[f"{name(path)} has a docstring of {sentences} sentences"] += 1
    assert not wrong, "\n".join(wrong)


def test_the_law_fits_on_three_pages() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()
    assert len(lines) <= LAW_LINES_MAX
