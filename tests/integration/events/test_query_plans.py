"""The plans of the reads at 60 000 rows over three months: an index each, never the whole table."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from fluxa.events.partitions import Partitions
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.tenancy import as_tenant

READS = sql.load("fluxa.events.query", "store.sql")
ROWS = 60_000
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LATER = BEGIN + dt.timedelta(days=40)
PAGE = 100
DATA_MAX = 8192
PAGE_MAX = 2_000_000
# Ten tenants, one of them large; 50 types; many sources, subjects and stories.
FILL = """
    with rows as (
        select n, $1::timestamptz + n * interval '2 minutes' as at,
               case when n % 10 = 0 then 'small-' || n % 90 else 'acme' end as tenant
        from generate_series(1, $2::int) n
    ), keys as (
        insert into fluxa.idempotency_keys (tenant, id, source, received_at, tx, ord)
        select tenant, 'e-' || n, '/source/' || n % 500, at, (n / 100)::text::xid8, n % 100 from rows
    )
    insert into fluxa.events (received_at, tx, ord, tenant, source, id, type, subject, time, correlation_id, sha256,
                              data, data_bytes, attempt, enqueued_at, claimed_at)
    select at, (n / 100)::text::xid8, n % 100, tenant, '/source/' || n % 500, 'e-' || n, 'type-' || n % 50,
           'subject-' || n % 3000, at, 'story-' || n % 20000, '\\x00', '{}', 2, 1, at, at
    from rows
"""
FAILURES = """
    insert into fluxa.failures (tenant, correlation_id, source, id, queue, stage, attempt, error_code, detail, parked)
    select 'acme', 'story-' || n % 20000, '/source/1', 'e-' || n, 'events', 'process', 1, 'HandlerError', '', false
    from generate_series(1, $1::int) n
"""


@pytest.fixture
async def filled(database: Database) -> Database:
    await Partitions(database).ensure(dt.date(2026, month, 1) for month in (1, 2, 3, 4))
    await database.execute(FILL, BEGIN, ROWS)
    await database.execute(FAILURES, ROWS)
    await database.execute("vacuum analyze")
    return database


async def _plan(database: Database, statement: str, *args: object) -> dict[str, Any]:
    async with as_tenant(database, Tenant(str(args[0])), timeout_s=5) as tx:
        text = await tx.fetch_value("explain (analyze, format json) " + READS[statement], *args)
    plan: dict[str, Any] = json.loads(text)[0]
    return plan


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _rows_read(plan: dict[str, Any]) -> float:
    """Rows that came out of tables, kept or thrown away."""
    read: float = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in _nodes(plan["Plan"])
        if "Relation Name" in node
    )
    return read


def _list_args(**given: object) -> list[object]:
    names = (
        "type",
        "source",
        "subject",
        "correlation",
        "from",
        "to",
        "received_from",
        "received_to",
        "before_tx",
        "before_ord",
    )
    return ["acme", *(given.get(name) for name in names), PAGE, DATA_MAX, PAGE_MAX]


DEEP = {"before_tx": 300, "before_ord": 5}
CASES: dict[str, tuple[str, list[object], float]] = {
    "by tenant": ("list_events", _list_args(), 1000),
    "by small tenant": ("list_events", ["small-10", *_list_args()[1:]], 1500),
    "by type": ("list_events", _list_args(type="type-7"), 12_000),
    "by rare type": ("list_events", _list_args(type="none"), 100),
    "by source": ("list_events", _list_args(source="/source/77"), 1000),
    "by subject": ("list_events", _list_args(subject="subject-77"), 1000),
    "by correlation": ("list_events", _list_args(correlation="story-77"), 100),
    "by arrival": ("list_events", _list_args(received_from=LATER, received_to=LATER + dt.timedelta(hours=1)), 3000),
    "by time": ("list_events", _list_args(**{"from": LATER, "to": LATER + dt.timedelta(hours=1)}), 3000),
    "a deep page": ("list_events", _list_args(**DEEP), 1000),
    "a deep page of a type": ("list_events", _list_args(type="type-7", **DEEP), 12_000),
    "one by id": ("find_event", ["acme", "e-777", None], 10),
    "one by id and source": ("find_event", ["acme", "e-777", "/source/277"], 10),
    "the tail": ("tail_events", ["acme", 590, -1, 600, 500, DATA_MAX, PAGE_MAX], 1500),
    "a trace's events": ("trace_events", ["acme", "story-77", None, 101], 100),
    "a trace's failures": ("trace_failures", ["acme", "story-77", None, 101], 200),
    "a trace of one event": ("trace_failures", ["acme", "story-77", "e-77", 101], 200),
}


@pytest.mark.req("PIPE-8")
async def test_no_read_goes_through_the_whole_table(filled: Database) -> None:
    wrong: list[str] = []
    for name, (statement, args, rows_max) in CASES.items():
        plan = await _plan(filled, statement, *args)
        scans = [
            f"{node['Node Type']} of {node['Relation Name']}"
            for node in _nodes(plan["Plan"])
            if node["Node Type"] == "Seq Scan"
            and node["Relation Name"].startswith(("events", "idempotency", "failures"))
            # An empty month has one page at most, and reading it is cheaper than its index.
            and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 0
        ]
        if scans:
            wrong.append(f"{name}: {', '.join(scans)}")
        if (read := _rows_read(plan)) > rows_max:
            wrong.append(f"{name}: {read:.0f} rows read, at most {rows_max:.0f}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.req("PIPE-8")
async def test_a_time_range_reads_its_own_months_only(filled: Database) -> None:
    plan = await _plan(
        filled, "list_events", *_list_args(received_from=LATER, received_to=LATER + dt.timedelta(days=1))
    )
    touched = {
        node["Relation Name"] for node in _nodes(plan["Plan"]) if node.get("Actual Loops") and "Relation Name" in node
    }
    assert touched == {"events_2026_02"}


@pytest.mark.req("PIPE-8")
async def test_one_event_touches_one_month(filled: Database) -> None:
    plan = await _plan(filled, "find_event", "acme", "e-777", None)
    touched = {
        node["Relation Name"] for node in _nodes(plan["Plan"]) if node["Actual Loops"] and "Relation Name" in node
    }
    assert touched == {"idempotency_keys", "events_2026_01"}
