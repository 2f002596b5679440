"""The register of secrets holds exactly the settings that are marked secret, and says something of each."""

import ast
import asyncio
import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.apps.operations.doctor import Finding, State, at_home
from fluxa.apps.operations.doctor.examination import examine, secret_values
from fluxa.apps.settings import FIELDS, NAMES, Settings, is_secret
from fluxa.kernel.clock import SystemClock
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


_VALUE = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=32, max_size=44)
_HOLD: Mapping[str, Callable[[str], object]] = {
    "database_url": lambda one: f"postgresql://someone:{one}@db.example.org/name",
    "database_listen_url": lambda one: f"postgresql://someone:{one}@db.example.org/name",
    "valkey_url": lambda one: f"valkey://:{one}@cache.example.org:6379/0",
    "otel_exporter_otlp_headers": lambda one: f"x-team=7,authorization=Basic%20{one}",
    "cron_secrets": lambda one: f"the older secret of cron jobs, {one}",
    "secret_key": lambda one: f"{one}, the older secret that sealed all keys",
    "external_queues": lambda one: {"q": {"url": f"https://a.example.org/?key={one}", "bearer": one, "secrets": [one]}},
    "alarm_targets": lambda one: {
        "pager": {"kind": "webhook", "url": f"https://a.example.org/{one}", "bearer": one, "secrets": [one]},
        "mail": {"kind": "mail", "host": "mx.example.org", "username": "alarms", "password": one},
    },
    "audit_sinks": lambda one: {"archive": {"kind": "http", "url": "https://a.example.org", "secrets": [one]}},
    "webhook_secrets": lambda one: {"github": {"secrets": [one]}},
}
"""How a secret stands in a setting; where nothing is said, it is the whole of it."""


@given(st.sampled_from([row.setting for row in REGISTER]), _VALUE)
def test_whatever_a_check_quotes_no_secret_is_in_what_the_doctor_says(name: str, secret: str) -> None:
    held = _HOLD[name](secret) if name in _HOLD else secret
    text = json.dumps(held) if isinstance(held, dict) else str(held)
    found = {name: msgspec.convert(held, FIELDS[name].type)} if isinstance(held, dict) else {name: text}
    settings = msgspec.structs.replace(Settings(), **found)

    async def quotes() -> list[Finding]:
        return [
            Finding("one", State.WARN, f"it says {secret}.", f"look at {quote(secret)}"),
            Finding("two", State.OK, text),
        ]

    async def breaks() -> list[Finding]:
        raise RuntimeError(f"cannot log in with {unquote(text)}")

    async def secrets() -> list[Finding]:
        return at_home.secrets(settings, dict.fromkeys(NAMES, "file"), today=dt.date(2026, 11, 22))

    checks = {"quotes": quotes, "breaks": breaks, "secrets": secrets}
    said = asyncio.run(examine(checks, timeout_s=5, clock=SystemClock(), hidden=secret_values(settings)))
    assert secret not in repr(said)
    assert len(said) == 3 + len(REGISTER)
