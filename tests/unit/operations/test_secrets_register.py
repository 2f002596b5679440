"""The register of secrets holds exactly the settings that are marked secret, and says something of each."""

import ast
from collections.abc import Iterator

import pytest

from fluxa.apps.settings import NAMES, is_secret
from fluxa.operations.secrets import KEPT, KINDS, REGISTER
from house.tree import ROOT

pytestmark = pytest.mark.req("GATE-4")


def test_every_secret_setting_is_registered_once_and_no_other() -> None:
    assert sorted(row.setting for row in REGISTER) == sorted(name for name in NAMES if is_secret(name))


def test_each_row_says_what_why_where_and_which_form() -> None:
    for row in REGISTER:
        assert all((row.why, row.origin, row.without, row.form_words)), row.setting
        assert (row.form is None) == (row.form_words == "tables")


@pytest.mark.req("SEC-5")
def test_every_kind_says_how_it_is_replaced_and_has_a_test_under_load() -> None:
    assert sorted(kind.name for kind in KINDS) == sorted([*(row.setting for row in REGISTER), *KEPT])
    assert sorted(set(_rotated())) == sorted(kind.name for kind in KINDS)


def _rotated() -> Iterator[str]:
    """The kinds that tests are marked with."""
    for file in (ROOT / "tests" / "integration" / "process" / "rotation").glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            for call in node.decorator_list if isinstance(node, ast.AsyncFunctionDef) else ():
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "rotates":
                    yield from (ast.literal_eval(argument) for argument in call.args)
