"""Dead letters over HTTP: pages, filters, and one whole."""

import base64
import datetime as dt

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from making.station import open_station, record

PATH = "/api/queues/jobs/dead-letters"


@pytest.mark.req("QUEUE-8")
async def test_pages_follow_each_other_until_the_last_and_hold_each_letter_once(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        buried = await stand.bury("jobs", *((record(number), "ProviderThrottled") for number in range(7)))
        seen: list[str] = []
        after: str | None = None
        while True:
            page = (await client.get(PATH, params={"limit": 3} | ({"after": after} if after else {}))).json()
            assert len(page["items"]) <= 3
            seen += [item["id"] for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert seen == [letter.message_id for letter in buried]


@pytest.mark.req("QUEUE-8")
async def test_a_letter_says_why_it_is_there_and_has_the_body_as_it_was_sent(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        text, binary = await stand.bury(
            "jobs",
            (record(1, body=b'{"caf\xc3\xa9":  1}', key="k"), "ProviderRejected"),
            (record(2, body=b"\x00\xff"), "HashMismatch"),
        )
        listed = (await client.get(PATH)).json()["items"]
        assert "body" not in listed[0]
        whole = (await client.get(f"{PATH}/{text.message_id}")).json()
        assert whole.items() >= listed[0].items()
        assert {name: whole[name] for name in ("record_id", "key", "error_code", "retry_class", "reason")} == {
            "record_id": "r-1",
            "key": "k",
            "error_code": "ProviderRejected",
            "retry_class": "permanent",
            "reason": "it broke",
        }
        assert (whole["body"].encode(), whole["body_base64"]) == (b'{"caf\xc3\xa9":  1}', None)
        whole = (await client.get(f"{PATH}/{binary.message_id}")).json()
        assert (whole["body"], base64.b64decode(whole["body_base64"])) == (None, b"\x00\xff")
        assert whole["retry_class"] == "security"


@pytest.mark.req("QUEUE-8")
async def test_letters_are_chosen_by_code_record_key_and_time(database: Database) -> None:
    async with open_station(database) as stand, stand.client() as client:
        await stand.bury(
            "jobs",
            (record(1, key="a"), "ProviderThrottled"),
            (record(2, key="b"), "ProviderThrottled"),
            (record(3, key="a"), "ProviderRejected"),
        )
        later = (SystemClock().now() + dt.timedelta(hours=1)).isoformat()
        for params, expected in (
            ({"code": "ProviderThrottled"}, ["r-1", "r-2"]),
            ({"record_id": "r-2"}, ["r-2"]),
            ({"key": "a"}, ["r-1", "r-3"]),
            ({"key": "a", "code": "ProviderRejected"}, ["r-3"]),
            ({"failed_before": later}, ["r-1", "r-2", "r-3"]),
            ({"failed_from": later}, []),
        ):
            page = (await client.get(PATH, params=params)).json()
            assert [item["record_id"] for item in page["items"]] == expected, params
            assert page["next"] is None


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("after=x", "after"),
        ("after=-1", "after"),
        ("code=", "code"),
        ("failed_from=yesterday", "failed_from"),
        ("codes=x", "codes"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(database: Database, query: str, name: str) -> None:
    async with open_station(database) as stand, stand.client() as client:
        answer = await client.get(f"{PATH}?{query}")
        assert (answer.status_code, answer.json()["pointer"]) == (400, f"/{name}")


@pytest.mark.parametrize("message_id", ["1", "0", "x", "9" * 40, "%00", "1%2F2"])
async def test_a_letter_that_is_not_there_is_not_found(database: Database, message_id: str) -> None:
    async with open_station(database) as stand, stand.client() as client:
        assert (await client.get(f"{PATH}/{message_id}")).status_code == 404
