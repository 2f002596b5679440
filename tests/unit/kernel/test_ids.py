"""Identifiers and the correlation id's way in."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel import ids


def test_a_uuid7_is_one_and_ordered_by_time() -> None:
    made = [uuid.UUID(ids.uuid7()) for _ in range(100)]
    assert {value.version for value in made} == {7}
    assert {value.variant for value in made} == {uuid.RFC_4122}
    assert len(set(made)) == 100
    assert [value.int >> 80 for value in made] == sorted(value.int >> 80 for value in made)


@pytest.mark.req("PIPE-10")
def test_the_trace_wins_over_the_callers_id() -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert ids.correlation_id(traceparent, "mine") == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert ids.correlation_id(None, "mine") == "mine"


@pytest.mark.req("PIPE-10")
@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "garbage",
    ],
)
def test_a_bad_traceparent_is_ignored(traceparent: str) -> None:
    assert ids.correlation_id(traceparent, "mine") == "mine"


@given(st.text())
def test_no_text_can_smuggle_a_control_character_into_a_correlation_id(text: str) -> None:
    chosen = ids.correlation_id(None, text)
    assert chosen.isascii()
    assert chosen.isprintable()
    assert 0 < len(chosen) <= 128


@pytest.mark.parametrize(("text", "expected"), [("acme-1", True), ("", False), ("A", False), ("a/b", False)])
def test_a_tenants_name_is_plain(text: str, expected: bool) -> None:  # noqa: FBT001 - a table of cases
    assert ids.is_tenant(text) is expected
