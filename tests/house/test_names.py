"""Names say what a thing is: no rooms for odds and ends, no classes that could do anything, units in numbers."""

import ast
from collections.abc import Iterator
from pathlib import Path

from house.tree import SOURCE, functions, name, python_files, syntax

VAGUE_FILES = {"util", "utils", "common", "helper", "helpers", "service", "services", "manager", "managers", "misc"}
VAGUE_FILES |= {"core", "base", "lib", "stuff", "shared", "tools"}
VAGUE_SUFFIXES = ("Manager", "Helper", "Helpers", "Util", "Utils", "Impl", "Info", "Stuff", "Object")
# What handlers are given besides the job is called so in their signatures, by everybody's programs.
PUBLIC_NAMES = {"JobInfo"}
# A number of these without its unit is a bug that waits for the one who guesses wrongly.
UNITLESS = {"timeout", "delay", "interval", "duration", "ttl", "latency", "age", "elapsed"}
NUMBERS = {"int", "float", "int | None", "float | None"}


def test_no_file_or_folder_has_a_name_that_fits_everything() -> None:
    vague = [
        name(path)
        for path in python_files()
        if VAGUE_FILES & {part.removesuffix(".py") for part in Path(name(path)).parts[1:]}
    ]
    assert not vague, "\n".join(vague)


def test_no_class_has_a_name_that_fits_everything() -> None:
    vague = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in python_files()
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(VAGUE_SUFFIXES) and node.name not in PUBLIC_NAMES
    ]
    assert not vague, "\n".join(vague)


def _numbers(path: Path) -> Iterator[tuple[int, str]]:
    for function in functions(path):
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
            if argument.annotation is not None and ast.unparse(argument.annotation) in NUMBERS:
                yield argument.lineno, argument.arg
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) in NUMBERS:
            yield node.lineno, ast.unparse(node.target).rpartition(".")[2]


def test_a_number_that_has_a_unit_names_it() -> None:
    unclear = [
        f"{name(path)}:{line} {found}: which unit?"
        for path in python_files("src")
        for line, found in _numbers(path)
        if found.rpartition("_")[2] in UNITLESS
    ]
    assert not unclear, "\n".join(unclear)


def test_every_public_class_and_function_has_a_docstring() -> None:
    silent = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in python_files("src")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith(("_", "test_"))  # a test's name is its sentence
        and _is_public_place(path, node)
        and ast.get_docstring(node) is None
    ]
    assert not silent, "\n".join(silent)


def _is_public_place(path: Path, wanted: ast.AST) -> bool:
    """Whether it stands in the module or in a public class, not inside a function."""
    tree = syntax(path)
    places: list[ast.Module | ast.ClassDef] = [tree]
    places += [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    return any(wanted in place.body for place in places)


def test_the_source_is_where_it_is_sought() -> None:
    assert len(python_files("src/fluxa")) > 1
    assert SOURCE.is_dir()
