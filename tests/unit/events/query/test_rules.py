"""Positions, cursors and the JSON form of a stored event."""

import base64
import datetime as dt
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.events.query.rules import cursor, item, listed_item, position
from fluxa.events.query.schemas import LIST_DATA_MAX_BYTES, Position
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.json import encode

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def _row(**change: object) -> dict[str, Any]:
    columns = ("subject", "time", "datacontenttype", "dataschema", "extensions", "data", "data_key")
    known = {"id": "1", "source": "/s", "type": "t", "correlation_id": "c", "sha256": b"\x00" * 32, "data_bytes": 0}
    times = {"attempt": 1, "received_at": NOW, "stored_at": NOW, "tx": 7, "ord": 3}
    return dict.fromkeys(columns) | known | times | change


@given(st.integers(0, 10**18 - 1), st.integers(-1, 10**9 - 2))
def test_a_cursor_leads_back_to_its_position(tx: int, ord_: int) -> None:
    assert position(cursor(Position(tx, ord_)), "cursor") == Position(tx, ord_)


@given(st.text().filter(lambda text: not re.fullmatch(r"[0-9]{1,18}\.[0-9]{1,9}", text)))
def test_what_is_no_cursor_is_refused_by_the_name_it_came_in(text: str) -> None:
    with pytest.raises(FluxaError, match="InvalidRequest") as caught:
        position(text, "after")
    assert caught.value.pointer == "/after"


@given(
    st.binary(), st.sampled_from(["text/plain", "application/xml", "image/svg+xml", "application/octet-stream", "x/y"])
)
def test_data_that_is_not_json_comes_back_byte_for_byte(data: bytes, media_type: str) -> None:
    event = json.loads(encode(item(_row(datacontenttype=media_type), data).event))
    back = event["data"].encode() if "data" in event else base64.b64decode(event["data_base64"])
    assert back == data


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_data_keeps_its_bytes(value: object) -> None:
    data = json.dumps(value, indent=1).encode()
    text = encode(item(_row(), data).event)
    assert b'"data":' + data in text
    assert json.loads(text)["data"] == value


def test_an_event_without_data_has_no_data_member() -> None:
    assert set(item(_row(), None).event) == {"specversion", "id", "source", "type"}
    assert "dataref" not in listed_item(_row()).event


@pytest.mark.parametrize(("event_id", "path"), [("a/b", "a%2Fb"), ("a b", "a%20b"), ("é?#", "%C3%A9%3F%23")])
def test_long_data_in_a_list_is_referred_to_by_a_path_that_leads_there(event_id: str, path: str) -> None:
    row = _row(id=event_id, source="/a&b", data_bytes=LIST_DATA_MAX_BYTES + 1)
    assert listed_item(row).event["dataref"] == f"/v1/events/{path}?source=%2Fa%26b"
