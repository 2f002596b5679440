"""Which statements touch tenants' rows as the owner is written down with a reason, and nothing else does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from house.test_sql import _loads, _statements
from house.tree import ROOT, SOURCE, name, python_files, syntax

PAGE = ROOT / "docs" / "operating" / "tenants.md"
ROW = re.compile(r"^\| `([\w/]+\.(?:sql|py))` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
VERBS = {"execute", "fetch", "fetch_row", "fetch_value"}
TENANTS = """
    select relname from pg_class c join pg_attribute a on attrelid = c.oid
    where relnamespace = 'fluxa'::regnamespace and attname = 'tenant' and relkind in ('r', 'p', 'v')
"""


def _listed() -> dict[str, set[str]]:
    """By file, the statements that the page says run as the owner."""
    return {file: set(re.findall(r"`(\w+)`", statements)) for file, statements, _ in ROW.findall(PAGE.read_text())}


def _within_tenant(path: Path) -> Iterator[ast.Call]:
    """Calls inside a block that runs as a tenant, be it opened here or by a context manager of the same module."""
    tree = syntax(path)
    openers = {"as_tenant"} | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
        and any(isinstance(inner, ast.Yield) for inner in ast.walk(node))
        and any(isinstance(inner, ast.Name) and inner.id == "as_tenant" for inner in ast.walk(node))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith):
            opened = {
                ast.unparse(item.context_expr.func).rpartition(".")[2]
                for item in node.items
                if isinstance(item.context_expr, ast.Call)
            }
            if opened & openers:
                for statement in node.body:
                    yield from (inner for inner in ast.walk(statement) if isinstance(inner, ast.Call))


def _statement_of(call: ast.Call) -> ast.expr | None:
    """What a call of a database's verb is given to run."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in VERBS and call.args:
        return call.args[0]
    return None


def _as_tenant(path: Path) -> set[str]:
    """The statements of a module that run as a tenant only."""
    calls = list(_within_tenant(path))
    inside = {id(call) for call in calls}
    named = {str(arg.slice.value) for call in calls if isinstance(arg := _statement_of(call), ast.Subscript)
             and isinstance(arg.slice, ast.Constant)}  # fmt: skip
    outside = {
        str(node.slice.value)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
        if not any(node in ast.walk(call) for call in calls if id(call) in inside)
    }
    return named - outside


@pytest.mark.req("SEC-4")
def test_what_runs_as_a_tenant_is_a_statement_of_a_file_and_nothing_else() -> None:
    wrong = [
        f"{name(path)}:{call.lineno} {ast.unparse(argument)}"
        for path in python_files("src")
        for call in _within_tenant(path)
        if (argument := _statement_of(call)) is not None and not re.fullmatch(r"_SQL\[\'\w+\'\]", ast.unparse(argument))
    ]
    assert not wrong, "\n".join(wrong)
    assert any(True for path in python_files("src") for _ in _within_tenant(path))


@pytest.mark.req("SEC-4")
def test_no_statement_but_the_entrance_sets_the_role_or_the_tenant() -> None:
    setting = re.compile(
        r"fluxa\.tenant'|'role'|\bset\s+(?:local\s+|session\s+)?(?:role|session)\b|\breset\b", re.IGNORECASE
    )
    found = {f"{name(path)} {statement}" for path, statement, text in _statements() if setting.search(text)}
    assert found == {"src/fluxa/postgres/server.sql enter_tenant"}


@pytest.mark.req("SEC-4")
async def test_every_statement_on_tenants_rows_runs_as_a_tenant_or_is_listed_with_its_reason(
    database: Database,
) -> None:
    tables = {str(row["relname"]) for row in await database.fetch(TENANTS)}
    touches = re.compile(rf"\bfluxa\.(?:{'|'.join(sorted(tables))})\b")
    owner: dict[str, set[str]] = {}
    for module, _, file in _loads():
        alone = _as_tenant(module)
        for statement, text in sql.parse(file.read_text("utf-8")).items():
            if touches.search(text) and statement not in alone:
                owner.setdefault(file.relative_to(SOURCE).as_posix(), set()).add(statement)
    for path in python_files("src"):
        for node in ast.walk(syntax(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "copy":
                table = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
                if table[:1] == ["fluxa"] and set(table) & tables:
                    owner.setdefault(path.relative_to(SOURCE).as_posix(), set()).add(table[1])
    assert owner == _listed(), f"make the statement run in as_tenant, or list it with a reason in {name(PAGE)}"
