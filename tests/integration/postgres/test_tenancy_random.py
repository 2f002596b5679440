"""Random rows of three tenants, random questions: whatever is asked for one, nothing of another comes back."""

import json
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxa.kernel.errors import FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.postgres.tenancy import as_tenant
from making.querying import QueryStand, failed, make_stand, running, stored

TENANTS = ("acme", "other", "third")
SLOW = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HOSTILE = ("", "other", "acme' or '1'='1", "'; reset role; --", "x') union select data from fluxa.events --", "%", "\\")
"""Values that would matter if text became a statement."""


async def _fill(stand: QueryStand) -> None:
    """The same ids, types and stories for each tenant; what is a tenant's own is in its data, as `secret-of-…`."""
    for tenant in TENANTS:
        for number in range(4):
            own: dict[str, Any] = {
                "data": {"secret": f"secret-of-{tenant}"},
                "type": f"t{number % 2}",
                "subject": f"s{number}",
            }
            await stand.write(stored(number, tenant=tenant, correlation=f"c{number % 2}", **own))
        await stand.fail(failed("x", tenant=tenant, correlation="c0", detail=f"secret-of-{tenant}"))


@pytest.mark.req("SEC-4", "PIPE-8")
async def test_the_query_routes_never_tell_one_tenant_of_another(database: Database) -> None:
    async with running(make_stand(database)) as stand:
        await _fill(stand)
        async with stand.client("acme") as client:
            for path in _paths():
                answer = await client.get(path)
                assert "secret-of-other" not in answer.text, path
                assert "secret-of-third" not in answer.text, path
                if answer.status_code == httpx.codes.OK and path == "/v1/events":
                    assert answer.text.count("secret-of-acme") == 4


def _paths() -> list[str]:
    questions = [("type", "t0"), ("source", "/flights"), ("subject", "s1"), ("correlation_id", "c0"), ("limit", "2")]
    paths = ["/v1/events", "/v1/events/e-0", "/v1/events/e-x", "/v1/traces/c0", "/v1/traces/c1?event_id=e-1"]
    paths += [str(httpx.URL("/v1/events", params={name: value})) for name, value in questions]
    paths += [str(httpx.URL("/v1/events", params={name: value})) for name, _ in questions for value in HOSTILE]
    return paths + [f"/v1/traces/{httpx.QueryParams({'x': value})!s}"[:200] for value in HOSTILE]


columns = st.sampled_from(["tenant", "id", "source", "correlation_id"])
conditions = st.one_of(
    st.just("true"),
    st.builds(
        lambda column, to: f"{column} {to}", columns, st.sampled_from(["is not null", "<> 'acme'", "> ''", "= 'other'"])
    ),
    st.builds(
        "exists (select from fluxa.{} o where o.tenant <> 'acme')".format, st.sampled_from(["events", "failures"])
    ),
    st.just("tenant in (select tenant from fluxa.idempotency_keys)"),
    st.just("set_config('role', 'none', true) is not null"),
    st.just("current_setting('fluxa.tenant') = 'acme'"),
)
sources = st.sampled_from(
    [
        "fluxa.events",
        "fluxa.failures",
        "fluxa.idempotency_keys",
        "fluxa.events join fluxa.idempotency_keys using (tenant, id, source) join fluxa.failures using (tenant)",
        (
            "(select tenant, id, source, '' as correlation_id from fluxa.idempotency_keys union all "
            "select tenant, id, source, correlation_id from fluxa.failures)"
        ),
        "fluxa.events left join lateral (select max(tenant) as top from fluxa.failures) m on true",
    ]
)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A question that names no tenant, or the wrong one."""
    source = draw(sources)
    alias = " as asked" if source.startswith("(") else ""
    wanted = " and ".join(draw(st.lists(conditions, min_size=1, max_size=3)))
    qualified = wanted if " join " not in source else draw(st.sampled_from(["true", "tenant <> 'acme'"]))
    what = draw(st.sampled_from(["array_agg(distinct tenant)", "array[min(tenant), max(tenant)]"]))
    return f"select count(*) as rows, {what} as seen from {source}{alias} where {qualified}"  # noqa: S608 - that is the point


@pytest.fixture
async def filled(database: Database) -> Database:
    await _fill(make_stand(database))
    return database


@SLOW
@given(statement=statements())
@pytest.mark.req("SEC-4")
async def test_whatever_is_asked_only_the_tenants_rows_count(filled: Database, statement: str) -> None:
    async with as_tenant(filled, Tenant("acme")) as tx:
        row = await tx.fetch_row(statement)
    assert row is not None
    assert set(row["seen"] or ()) <= {"acme", None}, statement
    alone = await _alone(filled, statement)
    assert row["rows"] <= alone, statement


async def _alone(database: Database, _statement: str) -> int:
    """More rows than a join of this tenant's own can have."""
    return int(await database.fetch_value("select 4 * 4 * count(*) from fluxa.failures where tenant = 'acme'"))


PLANS: Mapping[str, str] = {
    "a plan": "explain (format json, verbose) select * from fluxa.failures where detail like 'secret%'",
    "statistics": "select string_agg(most_common_vals::text, ' ') from pg_stats where schemaname = 'fluxa'",
}


@pytest.mark.req("SEC-4")
@pytest.mark.parametrize("what", PLANS)
async def test_plans_and_statistics_hold_no_value_of_another_tenant(filled: Database, what: str) -> None:
    await filled.execute("analyze fluxa.failures")
    async with as_tenant(filled, Tenant("acme")) as tx:
        told = json.dumps(await tx.fetch_value(PLANS[what]))
    assert "other" not in told
    assert "third" not in told


@pytest.mark.req("SEC-4")
async def test_a_condition_that_fails_is_not_tried_on_rows_of_others(filled: Database) -> None:
    """A cast that fails would tell what it failed on: Postgres asks the policy first."""
    with pytest.raises(FluxaError) as caught:
        async with as_tenant(filled, Tenant("acme")) as tx:
            await tx.fetch("select 1 from fluxa.failures where detail::int = 1")
    assert "secret-of-acme" in caught.value.detail
    async with as_tenant(filled, Tenant("nobody")) as tx:
        assert await tx.fetch("select 1 from fluxa.failures where detail::int = 1") == []


@pytest.mark.req("SEC-4")
async def test_a_plain_login_that_is_a_member_gains_nothing_by_setting_the_role_back(
    filled: Database, database_url: str
) -> None:
    """Who is no owner stays bound, whatever he sets; so a person may be given the role, with one tenant at a time."""
    await filled.execute("create role fluxa_probe login; grant fluxa_tenant to fluxa_probe")
    try:
        connection = await asyncpg.connect(database_url.replace("//fluxa@", "//fluxa_probe@"))
        try:
            for attempt in (
                "reset role",
                "set role none",
                "set local role none",
                "select set_config('role', 'none', false)",
            ):
                await connection.execute("set role fluxa_tenant")
                await connection.execute(attempt)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute("select count(*) from fluxa.api_keys")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("set role fluxa")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("set session authorization fluxa")
        finally:
            await connection.close()
    finally:
        await filled.execute("drop role fluxa_probe")
