"""SQL stands in named statements beside its store; each is used and each is understood by the migrated schema."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.queue.backends.pgmq.tables import filled
from house.tree import SOURCE, files, module_name, name, python_files, strings, syntax

MIGRATIONS = SOURCE / "postgres" / "migrations"
LOOKS_LIKE_SQL = re.compile(
    r"\s*(?:select\s+\S|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\(|"
    r"(?:create|alter|drop)\s+(?:table|index|view|extension|database|function|schema|type|role|unique|or)\b|"
    r"truncate\s|listen\s+\w+$|notify\s+\w+$|vacuum\b|analyze\s|lock\s+table)",
    re.IGNORECASE,
)


def _sql_files() -> tuple[Path, ...]:
    return tuple(path for path in files() if path.suffix == ".sql" and SOURCE in path.parents)


def _statements() -> Iterator[tuple[Path, str, str]]:
    for path in _sql_files():
        if path.parent != MIGRATIONS:
            for statement, text in sql.parse(path.read_text("utf-8")).items():
                yield path, statement, text


def _loads() -> Iterator[tuple[Path, str, Path]]:
    """Where a module loads a file: the module, the name it gives to the statements, the file."""
    for path in python_files("src"):
        for node in ast.walk(syntax(path)):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                call = node.value
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if ast.unparse(call.func) in {"sql.load", "load"} and isinstance(target, ast.Name):
                    package, *given = (_text(argument, path) for argument in call.args)
                    for file in given:
                        yield path, target.id, SOURCE.parent / package.replace(".", "/") / file


def _text(node: ast.expr, path: Path) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if ast.unparse(node) == "__package__":
        return module_name(path.parent / "__init__.py")
    raise AssertionError(f"{name(path)}:{node.lineno} name the .sql file with a literal")


def _looked_up(path: Path, variable: str) -> set[str]:
    """Statements that a module takes by a literal name from what it loaded."""
    return {
        str(node.slice.value)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == variable
        and isinstance(node.slice, ast.Constant)
    }


def test_statements_stand_in_sql_files_only() -> None:
    strays = [
        f"{name(path)}:{node.lineno} {str(node.value)[:60]!r}"
        for path in python_files("src")
        for node in strings(path)
        if LOOKS_LIKE_SQL.match(str(node.value))
    ]
    assert not strays, "\n".join(strays)


def test_every_sql_file_is_loaded_by_a_module_beside_it() -> None:
    loaded = {file: path for path, _, file in _loads()}
    lost = [name(path) for path in _sql_files() if path.parent != MIGRATIONS and path not in loaded]
    assert not lost, f"loaded by nobody: {lost}"
    missing = [f"{name(path)} loads {file}" for file, path in loaded.items() if not file.is_file()]
    assert not missing, "\n".join(missing)


def test_every_use_has_a_statement() -> None:
    written: dict[Path, set[str]] = {}
    for file, statement, _ in _statements():
        written.setdefault(file, set()).add(statement)
    wrong = [
        f"{name(path)} takes {sorted(missing)} from {file.name}"
        for path, variable, file in _loads()
        if (missing := _looked_up(path, variable) - written.get(file, set()))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_statement_is_used_by_a_module_beside_it() -> None:
    unused = [
        f"{name(file)} {statement}"
        for file, statement, _ in _statements()
        if not any(node.value == statement for path in python_files(name(file.parent)) for node in strings(path))
    ]
    assert not unused, "\n".join(unused)


async def test_every_statement_is_understood_by_the_migrated_schema(database: Database) -> None:
    refused: list[str] = []
    async with database.connection() as handle:
        await handle.execute("select pgmq.create('house'), pgmq.create('house_dlq')")
        for path, statement, text in _statements():
            try:
                await handle.connection.prepare(filled(text, "house"))
            except asyncpg.PostgresError as error:
                refused.append(f"{name(path)} {statement}: {error}")
    assert not refused, "\n".join(refused)
