"""What an answer means (QUEUE-13)."""

import datetime as dt
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode
from fluxa.providers.answers import Answer, judge, retry_after_s

pytestmark = pytest.mark.req("QUEUE-13", "HARDEN-1")

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@given(st.integers(0, 3600))
def test_seconds_and_dates_say_the_same(seconds: int) -> None:
    date = email.utils.format_datetime(NOW + dt.timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s(str(seconds), now=NOW) == retry_after_s(date, now=NOW) == seconds


@given(st.text(max_size=60))
def test_no_text_breaks_it_and_no_pause_is_endless(text: str) -> None:
    pause_s = retry_after_s(text, now=NOW)
    assert pause_s is None or 0 <= pause_s <= 3600


@pytest.mark.parametrize(
    ("value", "pause_s"),
    [
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, 3600.0),
        ("Sun, 01 Mar 2020 00:00:00 GMT", 0.0),
        ("Sun, 01 Mar 9999 00:00:00 GMT", 3600.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("soon", None),
    ],
)
def test_odd_values(value: str | None, pause_s: float | None) -> None:
    assert retry_after_s(value, now=NOW) == pause_s


@given(st.integers(100, 999), st.binary(max_size=2000))
def test_every_status_has_a_verdict_of_bounded_printable_text(status: int, body: bytes) -> None:
    verdict = judge(Answer(status, {}, body), now=NOW)
    assert (verdict.error is None) == (200 <= status <= 299)
    if verdict.error is not None:
        assert verdict.error.detail.isprintable()
        assert len(verdict.error.detail) < 400


def test_a_throttle_that_names_no_pause_speaks_against_the_target() -> None:
    assert judge(Answer(429), now=NOW).against_target
    assert not judge(Answer(429, {"retry-after": "1"}), now=NOW).against_target


def test_a_wrong_credential_is_waited_for_and_a_wrong_record_is_not() -> None:
    codes = {status: getattr(judge(Answer(status), now=NOW).error, "code", None) for status in (401, 403, 422)}
    assert codes == {
        401: ErrorCode.PROVIDER_UNAUTHORIZED,
        403: ErrorCode.PROVIDER_UNAUTHORIZED,
        422: ErrorCode.PROVIDER_REJECTED,
    }
