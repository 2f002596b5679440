"""When a synthetic check is believed, what answers mean, and what alarms see of it."""

import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import FluxaError
from fluxa.operations.synthetic.check import CheckName, Outcome, Result, named
from fluxa.operations.synthetic.rules import (
    Judged,
    Patience,
    Standing,
    advance,
    judged,
    readings,
    refusal,
    wrong_with,
)

pytestmark = pytest.mark.req("OBS-3")

OK, FAILED, UNKNOWN = Result.OK, Result.FAILED, Result.UNKNOWN
START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def _after(results: Sequence[Result], patience: Patience) -> list[Standing]:
    standings: list[Standing] = []
    for number, result in enumerate(results):
        before = standings[-1] if standings else None
        standings.append(advance(before, result, START + dt.timedelta(minutes=number), patience))
    return standings


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([OK], OK),
        ([FAILED], UNKNOWN),
        ([FAILED, FAILED], FAILED),
        ([OK, FAILED], OK),
        ([OK, FAILED, OK, FAILED], OK),
        ([OK, FAILED, FAILED], FAILED),
        ([OK, FAILED, FAILED, OK], FAILED),
        ([OK, FAILED, FAILED, OK, OK], OK),
        ([OK, FAILED, FAILED, OK, FAILED, OK], FAILED),
        ([OK, UNKNOWN], UNKNOWN),
        ([OK, UNKNOWN, OK], OK),
        ([OK, FAILED, UNKNOWN, FAILED], FAILED),
        ([OK, FAILED, FAILED, UNKNOWN], UNKNOWN),
        ([OK, FAILED, FAILED, UNKNOWN, OK], FAILED),
        ([UNKNOWN, UNKNOWN, UNKNOWN], UNKNOWN),
    ],
)
def test_a_check_counts_as_failed_after_two_failures_in_a_row_and_as_well_after_two_successes(
    results: list[Result], expected: Result
) -> None:
    assert _after(results, Patience(2, 2))[-1].result is expected


@given(
    st.lists(st.sampled_from(list(Result)), max_size=30),
    st.integers(min_value=1, max_value=4),
    st.integers(min_value=1, max_value=4),
)
def test_what_is_not_known_neither_fails_a_check_nor_mends_it(
    results: list[Result], fail_after: int, ok_after: int
) -> None:
    patience = Patience(fail_after, ok_after)
    known = [result for result in results if result is not UNKNOWN]
    with_gaps, without = _after(results, patience), _after(known, patience)
    if without:
        assert with_gaps[-1].judged is without[-1].judged
    if results and results[-1] is UNKNOWN:
        assert with_gaps[-1].result is UNKNOWN


@given(st.lists(st.sampled_from(list(Result)), min_size=1, max_size=30), st.integers(min_value=1, max_value=4))
def test_a_check_fails_exactly_where_its_last_known_results_say_so(results: list[Result], fail_after: int) -> None:
    last = _after(results, Patience(fail_after, 1))[-1]
    known = [result for result in results if result is not UNKNOWN]
    streak = len(known) - max((place + 1 for place, one in enumerate(known) if one is OK), default=0)
    assert (last.judged is FAILED) == (streak >= fail_after)


def test_since_tells_when_it_began_to_count_so() -> None:
    standings = _after([OK, OK, FAILED, FAILED, FAILED, OK, OK], Patience(2, 2))
    assert [one.since.minute for one in standings] == [0, 0, 0, 3, 3, 3, 6]


def test_what_was_not_looked_at_is_not_there_any_more() -> None:
    gone = {("health", "a:1"): _after([OK], Patience())[-1], ("health", "b:1"): _after([FAILED], Patience())[-1]}
    found = judged([Outcome(CheckName.HEALTH, "b:1", FAILED)], gone, START, Patience())
    assert [(one.outcome.target, one.standing.result) for one in found] == [("b:1", FAILED)]


@pytest.mark.parametrize(
    ("check", "status", "body", "expected"),
    [
        ("health", 200, b'{"status":"alive","service":"query"}', ""),
        ("api_health", 200, b'{"status":"dying"}', "it does not say that it is alive"),
        ("health", 200, b"<html>It works</html>", "it does not say that it is alive"),
        ("health", 200, b"\xff\xfe", "it does not say that it is alive"),
        ("health", 200, b'{"status":"\xff"}', "it does not say that it is alive"),
        ("health", 200, b"[" * 100_000, "it does not say that it is alive"),
        ("api_ready", 503, b'{"failed":["\xff"]}', "status 503"),
        ("health", 502, b"", "status 502"),
        ("health", 404, b"{}", "status 404"),
        ("api_ready", 200, b'{"status":"ready"}', ""),
        ("api_ready", 503, b'{"status":"not ready","failed":["database","queue"]}', "not ready: database, queue"),
        ("api_ready", 503, b"upstream is gone", "status 503"),
    ],
)
def test_an_answer_is_well_only_if_it_says_so(check: str, status: int, body: bytes, expected: str) -> None:
    assert wrong_with(CheckName(check), status, body) == expected


def test_a_refusal_is_told_in_its_own_words_where_it_has_any() -> None:
    assert refusal(403, b'{"code":"Forbidden","detail":"no"}') == "status 403 (Forbidden: no)"
    assert refusal(500, b"\xff") == refusal(500, b"") == "status 500"


def _judged(target: str, results: Sequence[Result], detail: str = "", age_s: float = 0.0) -> Judged:
    outcome = Outcome(CheckName.HEALTH, target, results[-1], 0.1, detail)
    return Judged(outcome, _after(results, Patience(2, 2))[-1], age_s)


def test_an_alarm_sees_at_how_many_targets_a_check_has_failed() -> None:
    found = [_judged("a:1", [OK]), _judged("b:1", [FAILED, FAILED], "status 502"), _judged("c:1", [UNKNOWN], "x")]
    (reading,) = readings(found, fresh_s=10)
    assert (reading.subject, reading.value, reading.detail) == ("health", 1.0, "b:1: status 502")


def test_an_alarm_knows_nothing_of_what_is_not_known_or_was_not_done_for_long() -> None:
    assert readings([_judged("a:1", [OK])], fresh_s=10)[0].value == 0.0
    assert readings([_judged("a:1", [OK]), _judged("b:1", [UNKNOWN], "no key")], fresh_s=10)[0].detail == "b:1: no key"
    (stale,) = readings([_judged("a:1", [OK, FAILED, FAILED], age_s=99.0)], fresh_s=10)
    assert (stale.value, stale.detail) == (None, "It was last done 99 s ago.")
    assert readings([], fresh_s=10) == []


def test_checks_are_named_or_all() -> None:
    assert named([]) == tuple(CheckName)
    assert named(["canary", "health"]) == (CheckName.HEALTH, CheckName.CANARY)
    with pytest.raises(FluxaError, match="There is no synthetic check helth"):
        named(["helth"])
