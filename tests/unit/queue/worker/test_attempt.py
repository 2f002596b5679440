"""What comes of a call: its error or its answer becomes one outcome for each record, and no secret is told."""

import datetime as dt
from dataclasses import replace

import pytest

from fluxa import DONE, Dead, FluxaError, JobInfo, Outcome, QueueSpec, Record, Retry, RetryPolicy, Snooze
from fluxa.kernel.errors import RetryClass
from fluxa.queue.worker.calls.attempt import Tried, answered, as_fluxa, failed, harmless, job_info, outcome_of
from fluxa.queue.worker.handlers import read_signature

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SPEC = QueueSpec("jobs", retry=RetryPolicy(attempts_max=4, base_s=1.0, cap_s=60.0))
RECORD = Record(id="r", body=b"{}", created_at=NOW, correlation_id="c", key="k")


async def handle(job: object) -> None: ...


HANDLER = read_signature("jobs", handle)


def _failed(error: FluxaError, *, attempt: int = 0, received: int = 1, company: bool = False) -> Outcome:
    record = Record(id="r", body=b"{}", created_at=NOW, attempt=attempt)
    return failed(Tried(record, received, company), error, SPEC, now=NOW, chance=0.0)


@pytest.mark.req("QUEUE-4", "PIPE-9")
def test_a_code_decides_and_crashes_count() -> None:
    assert _failed(FluxaError("ProviderUnavailable", "x")) == Retry(
        NOW + dt.timedelta(seconds=0.5), "ProviderUnavailable", "x"
    )
    assert _failed(FluxaError("ProviderRejected", "x")) == Dead("ProviderRejected", "x")
    assert isinstance(_failed(FluxaError("ProviderUnavailable"), attempt=3), Dead)
    assert isinstance(_failed(FluxaError("ProviderUnavailable"), attempt=1, received=3), Dead)
    assert _failed(FluxaError("OfMyOwn", "x", pointer="/a")) == Retry(
        NOW + dt.timedelta(seconds=0.5), "OfMyOwn", "x (at /a)"
    )
    mine = replace(SPEC, retry=RetryPolicy(overrides={"OfMyOwn": RetryClass.PERMANENT}))
    assert isinstance(failed(Tried(RECORD, 1), FluxaError("OfMyOwn"), mine, now=NOW, chance=0), Dead)


@pytest.mark.req("QUEUE-4")
def test_in_company_nobody_is_parked_for_an_error_that_may_be_anothers() -> None:
    assert isinstance(_failed(FluxaError("ProviderRejected"), company=True), Retry)
    assert isinstance(_failed(FluxaError("ProviderUnavailable"), attempt=0, received=9, company=True), Retry)


@pytest.mark.req("HARDEN-1")
def test_a_provider_that_says_when_is_heeded() -> None:
    throttled = FluxaError("ProviderThrottled", "slow down", retry_after_s=120)
    assert _failed(throttled) == Retry(NOW + dt.timedelta(seconds=120), "ProviderThrottled", "slow down")
    assert isinstance(_failed(throttled, attempt=3), Dead)
    other = FluxaError("DBConnectionError", "x", retry_after_s=120)
    assert _failed(other) == Retry(NOW + dt.timedelta(seconds=0.5), "DBConnectionError", "x")


@pytest.mark.req("QUEUE-4")
def test_answers_are_outcomes_and_their_attempts_are_bounded() -> None:
    retry, wait = Retry(NOW, "Later", "x"), Snooze(NOW)
    assert outcome_of(None, Tried(RECORD, 1), HANDLER, SPEC) is DONE
    assert outcome_of(retry, Tried(RECORD, 1), HANDLER, SPEC) == retry
    assert outcome_of(retry, Tried(RECORD, 4), HANDLER, SPEC) == Dead("Later", "x")
    assert outcome_of(wait, Tried(RECORD, 99), HANDLER, SPEC) == wait
    naive = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake
    for wrong in (True, "done", [DONE], Retry(naive, "x", "x"), Snooze(naive)):
        with pytest.raises(FluxaError, match="handle returned a") as caught:
            outcome_of(wrong, Tried(RECORD, 1), HANDLER, SPEC)
        assert caught.value.code == "HandlerError"
    three = [Tried(RECORD, 1)] * 3
    assert list(answered(None, three, HANDLER, SPEC)) == [DONE] * 3
    assert list(answered((DONE, None, retry), three, HANDLER, SPEC)) == [DONE, DONE, retry]
    for short in ([], [DONE] * 2, {DONE: 1}, 7):
        with pytest.raises(FluxaError, match="for 3 jobs"):
            answered(short, three, HANDLER, SPEC)


@pytest.mark.req("QUEUE-8")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://ann:s3cret@host/db refused", "postgresql://ann:****@host/db refused"),
        ("401 for Authorization: Bearer abcdef.ghijkl", "401 for Authorization: **** ****"),
        ("got api_key=abc123, retrying", "got api_key=****, retrying"),
        ("{'password': 'p w'}", "{'password': '**** w'}"),
        ("nothing to hide: basic rules", "nothing to hide: basic rules"),
    ],
)
def test_what_looks_like_a_secret_is_not_told(text: str, told: str) -> None:
    assert harmless(text) == told


def test_errors_keep_their_code_and_others_their_type() -> None:
    mine = FluxaError("OfMyOwn", "x")
    assert as_fluxa(mine) is mine
    assert as_fluxa(KeyError("a")).detail == "KeyError: 'a'"
    assert as_fluxa(TimeoutError()).detail == "TimeoutError"
    assert len(as_fluxa(ValueError("x" * 10_000)).detail) == 1000


def test_a_job_knows_its_attempt_with_the_crashes_before_it() -> None:
    info = job_info("jobs", Tried(RECORD, 3), enqueued_at=NOW, deadline=NOW)
    assert info == JobInfo(
        queue="jobs",
        id="r",
        attempt=3,
        enqueued_at=NOW,
        created_at=NOW,
        correlation_id="c",
        deadline=NOW,
        key="k",
        redrives=0,
        headers={},
        content_type="application/json",
    )
