"""Events found again over HTTP: lists, pages, single events, traces; always of one tenant (PIPE-8)."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cloudevents.v1.http import from_json

from fluxa.postgres.pool import Database
from making.querying import MS, RECEIVED, QueryStand, failed, make_stand, running, stored

HOUR = dt.timedelta(hours=1)


@pytest.fixture
async def stand(database: Database) -> AsyncIterator[QueryStand]:
    async with running(make_stand(database)) as stand:
        yield stand


async def _get(stand: QueryStand, path: str, tenant: str = "acme", **params: Any) -> dict[str, Any]:  # noqa: ANN401
    async with stand.client(tenant) as client:
        answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _refused(stand: QueryStand, path: str, tenant: str = "acme") -> tuple[int, dict[str, Any]]:
    async with stand.client(tenant) as client:
        answer = await client.get(path)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()


def _ids(page: dict[str, Any]) -> list[str]:
    return [item["event"]["id"] for item in page["items"]]


@pytest.mark.req("PIPE-8")
async def test_an_event_is_found_by_its_id_with_its_data_byte_for_byte(stand: QueryStand) -> None:
    row = stored(1, subject="gate 7", time="2026-03-15T11:59:00+01:00", extra="x", count=7, flag=True)
    await stand.write(row)
    async with stand.client() as client:
        answer = await client.get("/v1/events/e-1")
    assert b'"data":{"n": 1}' in answer.content  # the space is the producer's
    found = answer.json()
    assert found["event"] == {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/flights",
        "type": "flight.departed",
        "subject": "gate 7",
        "time": "2026-03-15T10:59:00Z",
        "extra": "x",
        "count": 7,
        "flag": True,
        "data": {"n": 1},
    }
    assert found["sha256"] == row.event.sha256.hex()
    assert found["received_at"] == "2026-03-15T12:00:00Z"
    assert (found["correlation_id"], found["attempt"], found["data_bytes"]) == ("c-1", 1, 8)
    assert found["stored_at"]


@pytest.mark.req("PIPE-1")
async def test_the_official_sdk_reads_what_is_answered(stand: QueryStand) -> None:
    await stand.write(stored(1, subject="x", time="2026-03-15T11:59:00Z"))
    found = await _get(stand, "/v1/events/e-1")
    event = from_json(json.dumps(found["event"]))
    assert event["id"] == "e-1"
    assert event.data == {"n": 1}


@pytest.mark.parametrize(
    ("attributes", "member", "value"),
    [
        ({"datacontenttype": "text/plain", "data": "häß\nlich"}, "data", "häß\nlich"),
        ({"datacontenttype": "application/xml", "data": "<a/>"}, "data", "<a/>"),
        ({"datacontenttype": "image/png", "data_base64": "AP8="}, "data_base64", "AP8="),
        ({"datacontenttype": "text/plain", "data_base64": "/w=="}, "data_base64", "/w=="),
        ({"datacontenttype": "application/json", "data": None}, "data", None),
    ],
)
async def test_data_that_is_not_json_comes_back_in_its_form(
    stand: QueryStand, attributes: dict[str, Any], member: str, value: object
) -> None:
    await stand.write(stored(1, **attributes))
    event = (await _get(stand, "/v1/events/e-1"))["event"]
    assert event[member] == value
    assert (await _get(stand, "/v1/events"))["items"][0]["event"][member] == value


async def test_an_id_may_hold_any_character(stand: QueryStand) -> None:
    for event_id in ("a/b", "a b", "é", "?x=1", "%2F", "stream", "..", "a\\b", '"', "x" * 1024):
        await stand.write(stored(1, id=event_id))
        path = "".join(f"%{byte:02X}" for byte in event_id.encode())
        assert (await _get(stand, f"/v1/events/{path}"))["event"]["id"] == event_id


async def test_an_id_of_several_sources_needs_its_source(stand: QueryStand) -> None:
    await stand.write(stored(1, source="/a"), stored(1, source="/b"))
    status, problem = await _refused(stand, "/v1/events/e-1")
    assert (status, problem["code"]) == (409, "AmbiguousId")
    assert "/a, /b" in problem["detail"]
    assert (await _get(stand, "/v1/events/e-1", source="/b"))["event"]["source"] == "/b"


@pytest.mark.parametrize("path", ["/v1/events/none", "/v1/events/e-1?source=/elsewhere", "/v1/events/%00"])
async def test_an_unknown_id_is_404_and_says_when_to_ask_again(stand: QueryStand, path: str) -> None:
    await stand.write(stored(1))
    async with stand.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "NotFound"
    assert answer.headers["retry-after"] == "1"


@pytest.mark.req("PIPE-6", "PIPE-3")
async def test_large_data_comes_from_the_object_store_and_is_proved(stand: QueryStand) -> None:
    data = {"text": "x" * 20_000}
    raw = json.dumps(data).encode()
    key = await stand.put(raw)
    await stand.write(stored(1, data=data, data_key=key))
    found = await _get(stand, "/v1/events/e-1")
    assert found["event"]["data"] == data
    assert found["data_bytes"] == len(raw)
    listed = (await _get(stand, "/v1/events"))["items"][0]["event"]
    assert "data" not in listed
    assert (await _get(stand, listed["dataref"]))["event"]["data"] == data


@pytest.mark.req("PIPE-3")
async def test_data_that_was_altered_or_lost_in_the_object_store_is_not_shown(stand: QueryStand) -> None:
    await stand.objects.put("wrong", b'{"n":"altered"}')
    await stand.write(stored(1, data_key="wrong"), stored(2, data_key="lost"))
    status, problem = await _refused(stand, "/v1/events/e-1")
    assert (status, problem["code"]) == (400, "HashMismatch")
    status, problem = await _refused(stand, "/v1/events/e-2")
    assert (status, problem["code"]) == (404, "PayloadMissing")


async def test_lists_show_short_data_and_refer_to_long_data(stand: QueryStand) -> None:
    await stand.write(stored("short", data="x" * 8000), stored("long/1", data="x" * 9000))
    long, short = (item["event"] for item in (await _get(stand, "/v1/events"))["items"])
    assert short["data"] == "x" * 8000
    assert long["dataref"] == "/v1/events/e-long%2F1?source=%2Fflights"
    assert (await _get(stand, long["dataref"]))["event"]["data"] == "x" * 9000


@pytest.mark.req("PIPE-8")
async def test_events_are_listed_newest_first_by_every_filter(stand: QueryStand) -> None:
    await stand.write(stored(1, type="a", source="/x", subject="s", time="2026-03-15T10:00:00Z"))
    await stand.write(stored(2, type="b", source="/x", correlation="story", time="2026-03-15T11:00:00Z"))
    await stand.write(stored(3, type="b", source="/y", received_at=RECEIVED + HOUR))
    expected: list[tuple[dict[str, str], list[str]]] = [
        ({}, ["e-3", "e-2", "e-1"]),
        ({"type": "b"}, ["e-3", "e-2"]),
        ({"source": "/x"}, ["e-2", "e-1"]),
        ({"subject": "s"}, ["e-1"]),
        ({"correlation_id": "story"}, ["e-2"]),
        ({"type": "b", "source": "/x"}, ["e-2"]),
        ({"from": "2026-03-15T10:30:00Z"}, ["e-2"]),
        ({"to": "2026-03-15T12:00:00+01:00"}, ["e-1"]),
        ({"received_from": "2026-03-15T12:30:00Z"}, ["e-3"]),
        ({"received_to": "2026-03-15T13:00:00Z"}, ["e-2", "e-1"]),
        ({"type": "none"}, []),
    ]
    for params, ids in expected:
        page = await _get(stand, "/v1/events", **params)
        assert _ids(page) == ids, params
        assert page["next"] is None


@pytest.mark.req("PIPE-8")
async def test_pages_hold_every_event_once_also_across_months_and_new_arrivals(stand: QueryStand) -> None:
    for number in range(0, 30, 3):
        month = dt.timedelta(days=31 * (number % 2))
        await stand.write(*(stored(number + n, received_at=RECEIVED + month) for n in range(3)))
    seen: list[str] = []
    cursor = None
    while True:
        page = await _get(stand, "/v1/events", limit=7, **({"cursor": cursor} if cursor else {}))
        seen += _ids(page)
        cursor = page["next"]
        await stand.write(stored(f"new-{len(seen)}"))
        if cursor is None:
            break
    assert seen == [f"e-{number}" for number in reversed(range(30))]


async def test_a_page_of_heavy_events_is_short_and_has_a_next_one(stand: QueryStand) -> None:
    heavy: dict[str, Any] = {f"x{number}": "x" * 1024 for number in range(64)}
    await stand.write(*(stored(number, **heavy) for number in range(100)))
    seen: list[str] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        page = await _get(stand, "/v1/events", limit=1000, **({"cursor": cursor} if cursor else {}))
        assert 0 < len(page["items"]) < 40
        seen += _ids(page)
        cursor = page["next"]
        pages += 1
    assert seen == [f"e-{number}" for number in reversed(range(100))]


BAD_PARAMETERS = [
    ("limit=0", "/limit"),
    ("limit=1001", "/limit"),
    ("limit=-1", "/limit"),
    ("limit=%D9%A3", "/limit"),
    ("limit=9999999999999999999999", "/limit"),
    ("cursor=zzz", "/cursor"),
    ("cursor=", "/cursor"),
    ("cursor=5.-1", "/cursor"),
    ("cursor=9999999999999999999.1", "/cursor"),
    ("from=yesterday", "/from"),
    ("from=2026-03-15T10:00:00", "/from"),
    ("from=2026-03-15T10:00:00+01:00", "/from"),
    ("type=", "/type"),
    ("type=a&type=b", "/type"),
    ("type=%00", "/type"),
    ("type=%ff", "/type"),
    ("subject=" + "x" * 1025, "/subject"),
    ("typ=a", "/typ"),
    ("a~/b=1", "/a~0~1b"),
]


async def test_a_parameter_that_is_not_valid_is_named(stand: QueryStand) -> None:
    for query, pointer in BAD_PARAMETERS:
        status, problem = await _refused(stand, f"/v1/events?{query}")
        assert (status, problem["code"], problem["pointer"]) == (400, "InvalidRequest", pointer), query


async def test_times_at_the_ends_of_the_calendar_are_understood(stand: QueryStand) -> None:
    await stand.write(stored(1, time="2026-03-15T10:00:00Z"))
    page = await _get(stand, "/v1/events", **{"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"})
    assert _ids(page) == ["e-1"]


async def test_a_query_that_takes_too_long_is_stopped_with_advice(database: Database) -> None:
    async with running(make_stand(database, read_timeout_s=0.2)) as stand:
        await stand.write(stored(1))
        async with database.transaction() as tx:
            await tx.execute("lock table fluxa.events in access exclusive mode")
            status, problem = await _refused(stand, "/v1/events")
    assert (status, problem["code"]) == (503, "QueryTimeout")
    assert "received_from" in problem["detail"]
    assert problem["retry_after_s"] == 1


@pytest.mark.req("PIPE-8", "PIPE-10")
async def test_a_trace_tells_every_stage_with_times_attempts_and_errors(stand: QueryStand) -> None:
    await stand.fail(failed(1, correlation="story", attempt=1), failed(1, correlation="story", attempt=2))
    await stand.write(stored(1, correlation="story", attempt=3))
    await stand.write(stored(1, correlation="story"))
    story = await _get(stand, "/v1/traces/story")
    assert story["correlation_id"] == "story"
    assert story["truncated"] is False
    assert "still in the queue" in story["note"]
    (event,) = story["events"]
    assert (event["id"], event["source"], event["type"]) == ("e-1", "/flights", "flight.departed")
    assert (event["state"], event["attempts"], event["acknowledged"]) == ("stored", 3, 2)
    told = [(stage["stage"], stage["status"], stage["attempt"], stage["error_code"]) for stage in event["stages"]]
    assert told == [
        ("validate", "success", None, None),
        ("enqueue", "success", None, None),
        ("process", "failure", 1, "DBConnectionError"),
        ("process", "failure", 2, "DBConnectionError"),
        ("process", "success", 3, None),
        ("persist", "success", 3, None),
    ]
    assert event["stages"][1]["latency_ms"] == 2.0
    assert event["stages"][4]["latency_ms"] == 3.0
    assert event["stages"][1]["at"] == (RECEIVED + 2 * MS).isoformat().replace("+00:00", "Z")


@pytest.mark.req("PIPE-8")
async def test_a_trace_says_where_an_event_is_that_is_not_stored(stand: QueryStand) -> None:
    await stand.fail(
        failed("r", correlation="story"),
        failed("p", correlation="story"),
        failed("p", correlation="story", attempt=2, error_code="HashMismatch", detail="altered", parked=True),
        failed("u", correlation="story", source=None, error_code="MalformedMessage", parked=True),
    )
    await stand.write(stored("s", correlation="story"))
    story = await _get(stand, "/v1/traces/story")
    states = {event["id"]: event["state"] for event in story["events"]}
    assert states == {"e-r": "retrying", "e-p": "parked", "e-u": "parked", "e-s": "stored"}
    one = await _get(stand, "/v1/traces/story", event_id="e-p")
    assert [stage["error_code"] for stage in one["events"][0]["stages"]] == ["DBConnectionError", "HashMismatch"]


async def test_a_long_story_is_cut_and_says_so(stand: QueryStand) -> None:
    await stand.write(*(stored(number, correlation="story") for number in range(5)))
    story = await _get(stand, "/v1/traces/story", limit=3)
    assert [event["id"] for event in story["events"]] == ["e-0", "e-1", "e-2"]
    assert story["truncated"] is True
    assert (await _get(stand, "/v1/traces/story", limit=5))["truncated"] is False


async def test_an_event_of_a_long_story_has_its_true_state_also_beyond_the_cut(stand: QueryStand) -> None:
    rows = [stored(number, correlation="story", received_at=RECEIVED + number * MS) for number in range(6)]
    await stand.fail(failed(5, correlation="story"))
    await stand.fail(*(failed("p", correlation="story", attempt=n, parked=n == 9) for n in range(1, 10)))
    await stand.write(*rows)
    story = await _get(stand, "/v1/traces/story", limit=3)
    states = {event["id"]: event["state"] for event in story["events"]}
    assert set(states.values()) <= {"stored", "parked"}
    assert story["truncated"] is True
    one = await _get(stand, "/v1/traces/story", event_id="e-p", limit=1)
    assert (one["events"][0]["state"], one["events"][0]["attempts"], one["truncated"]) == ("parked", 9, False)


async def test_a_correlation_id_may_hold_any_character(stand: QueryStand) -> None:
    await stand.write(stored(1, correlation="a/b=c+d"))
    assert (await _get(stand, "/v1/traces/a%2Fb%3Dc%2Bd"))["events"][0]["id"] == "e-1"


@pytest.mark.parametrize("path", ["/v1/traces/none", "/v1/traces/%00", "/v1/traces/c-1?event_id=none"])
async def test_a_story_nobody_knows_is_404_with_a_hint(stand: QueryStand, path: str) -> None:
    await stand.write(stored(1))
    status, problem = await _refused(stand, path)
    assert (status, problem["code"], problem["retry_after_s"]) == (404, "NotFound", 1)


@pytest.mark.req("PIPE-8")
async def test_no_tenant_sees_anything_of_another(stand: QueryStand) -> None:
    key = await stand.put(b'{"n": "theirs"}')
    await stand.write(stored(1, correlation="story", type="t"), stored(2, tenant="other", correlation="story"))
    await stand.write(stored(3, tenant="other", data={"n": "theirs"}, data_key=key))
    await stand.fail(failed(4, tenant="other", correlation="story", parked=True))
    assert _ids(await _get(stand, "/v1/events")) == ["e-1"]
    assert _ids(await _get(stand, "/v1/events", tenant="other")) == ["e-3", "e-2"]
    for path in ("/v1/events/e-2", "/v1/events/e-3", "/v1/events/e-2?source=/flights", "/v1/traces/c-3"):
        assert (await _refused(stand, path))[0] == 404
    story = await _get(stand, "/v1/traces/story")
    assert [event["id"] for event in story["events"]] == ["e-1"]
    assert (await _refused(stand, "/v1/traces/story?event_id=e-4"))[0] == 404
    theirs = await _get(stand, "/v1/traces/story", tenant="other")
    assert {event["id"] for event in theirs["events"]} == {"e-2", "e-4"}
    newest = (await _get(stand, "/v1/events", tenant="other", limit=1))["next"]
    assert _ids(await _get(stand, "/v1/events", cursor=newest)) == ["e-1"]
