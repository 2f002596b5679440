"""Messages in words: everything that is told is in them, or how much more there is."""

import datetime as dt
import json
import re

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from fluxa.operations.alarms.notices import Message, Told, for_discord, in_words

pytestmark = pytest.mark.req("ALARM-5")

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def told(number: int, notice: str = "firing", detail: str = "", url: str = "dlq-triage") -> Told:
    return Told(
        notice=notice,
        alarm="DLQDepth",
        subject=f"queue_{number:02}",
        severity="warning",
        title="Dead letters wait for a person",
        value=3.0,
        threshold=0.0,
        detail=detail,
        cause="A poison pill.",
        first_action=f"fluxa dlq list --queue queue_{number:02}",
        runbook="dlq-triage",
        runbook_url=url,
        since=AT,
    )


def content(message: Message) -> str:
    return str(json.loads(for_discord(message))["content"])


def test_what_fires_is_told_with_what_to_do_and_what_is_over_without() -> None:
    text = in_words(Message(target="chat", at=AT, alarms=[told(1), told(2, "resolved")]))
    firing, resolved = text.split("\n\n")
    assert firing.splitlines() == [
        "FIRING warning: DLQDepth (queue_01): Dead letters wait for a person",
        "Found: 3, bad beyond 0; since 2026-01-01 00:00:00Z.",
        "Likely cause: A poison pill.",
        "First action: fluxa dlq list --queue queue_01",
        "Runbook: dlq-triage",
    ]
    assert "Likely cause" not in resolved


@settings(max_examples=500)
@example(count=1, detail=0, url=1888, test=True)
@given(
    count=st.integers(min_value=1, max_value=20),
    detail=st.integers(min_value=0, max_value=2500),
    url=st.integers(min_value=1, max_value=1900),
    test=st.booleans(),
)
def test_a_message_fits_into_discord_and_names_each_alarm_or_says_how_many_more(
    count: int,
    detail: int,
    url: int,
    test: bool,  # noqa: FBT001 - given by name
) -> None:
    alarms = [told(number, detail="x" * detail, url="u" * url) for number in range(count)]
    text = content(Message(target="chat", at=AT, alarms=alarms, test=test))
    assert len(text) <= 2000
    assert text.startswith("This is a test") == test
    named = set(re.findall(r"DLQDepth \((queue_\d\d)\)", text))
    more = re.search(r"And (\d+) more: fluxa alarm list", text)
    assert len(named) + (int(more[1]) if more else 0) == count
    assert named == {one.subject for one in alarms[: len(named)]}


def test_the_first_alarms_are_whole_where_not_all_of_them_can_be() -> None:
    text = content(Message(target="chat", at=AT, alarms=[told(number) for number in range(20)]))
    assert "First action: fluxa dlq list --queue queue_00" in text
    assert "DLQDepth (queue_19): Dead letters wait for a person. Runbook: dlq-triage" in text
