"""The redrive plan: what goes back and what is refused."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode, RetryClass, retry_class
from fluxa.queue.backend import DeadLetterFilter, Envelope, Settlement
from fluxa.queue.dead_letters.redrive import RedriveProgress, plan_redrive, redrive
from fluxa.queue.outcome import Dead
from fluxa.queue.record import DeadLetter, Record
from fluxa.testing.clock import ManualClock
from fluxa.testing.memory_queue import MemoryBackend

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_ALL = DeadLetterFilter()


def _letter(number: int, code: str, retry: RetryClass | None = None) -> DeadLetter:
    return DeadLetter(
        message_id=str(number),
        queue="q",
        record=Record(id=f"r{number}", body=b"", created_at=_NOW),
        code=code,
        retry=retry or retry_class(code),
        reason="",
        attempts=1,
        first_failed_at=_NOW,
        last_failed_at=_NOW,
    )


_LETTERS = st.lists(st.sampled_from(ErrorCode)).map(lambda codes: [_letter(n, code) for n, code in enumerate(codes, 1)])


@pytest.mark.req("QUEUE-9")
@given(letters=_LETTERS, forced=st.frozensets(st.sampled_from(ErrorCode), max_size=3))
def test_every_letter_is_moved_or_counted_as_refused_and_only_named_codes_are_forced(
    letters: list[DeadLetter], forced: frozenset[ErrorCode]
) -> None:
    plan = plan_redrive(letters, _ALL, frozenset(forced))
    assert len(plan.to_move) + sum(plan.refused_by_code.values()) == len(letters)
    assert sum(plan.by_code.values()) == sum(plan.by_class.values()) == len(plan.to_move)
    moved = [letter for letter in letters if letter.message_id in plan.to_move]
    assert all(letter.retry is RetryClass.TRANSIENT or letter.code in forced for letter in moved)


@pytest.mark.req("QUEUE-9")
def test_only_what_the_filter_means_is_looked_at() -> None:
    letters = [_letter(1, "HandlerError"), _letter(2, "HandlerCrash"), _letter(3, "HandlerError")]
    assert plan_redrive(letters, DeadLetterFilter(codes=("HandlerError",)), frozenset()).to_move == ("1", "3")
    assert plan_redrive(letters, DeadLetterFilter(message_ids=("2", "9")), frozenset()).to_move == ("2",)
    both = DeadLetterFilter(codes=("HandlerError",), message_ids=("2", "3"))
    assert plan_redrive(letters, both, frozenset()).to_move == ("3",)


@pytest.mark.req("QUEUE-9", "PIPE-3")
def test_a_header_that_calls_tampering_transient_changes_nothing() -> None:
    plan = plan_redrive([_letter(1, "HashMismatch", RetryClass.TRANSIENT)], _ALL, frozenset())
    assert plan.to_move == ()
    assert plan.refused_by_code == {"HashMismatch": 1}


async def _parked(count: int, code: str) -> MemoryBackend:
    backend = MemoryBackend(ManualClock())
    await backend.create("q")
    await backend.send("q", [Envelope((Record(id=f"r{n}", body=b"", created_at=_NOW),)) for n in range(count)])
    claimed = await backend.claim("q", limit=count, lease_s=30)
    await backend.settle([Settlement(delivery, (Dead(code, "x"),)) for delivery in claimed])
    return backend


@pytest.mark.req("QUEUE-9")
async def test_a_dry_run_counts_and_moves_nothing() -> None:
    backend = await _parked(3, "HandlerError")
    report = await redrive(backend, "q", _ALL, dry_run=True)
    assert report.plan.by_code == {"HandlerError": 3}
    assert (report.moved, (await backend.metrics("q")).dead) == (0, 3)


@pytest.mark.req("QUEUE-9")
async def test_a_redrive_goes_in_batches_tells_its_progress_and_keeps_the_order() -> None:
    backend = await _parked(1201, "HandlerError")
    heard: list[RedriveProgress] = []
    report = await redrive(backend, "q", _ALL, on_progress=heard.append)
    assert report.moved == 1201
    assert [(one.handled, one.moved, one.total) for one in heard] == [
        (500, 500, 1201),
        (1000, 1000, 1201),
        (1201, 1201, 1201),
    ]
    claimed = await backend.claim("q", limit=2000, lease_s=30)
    assert [delivery.records[0].id for delivery in claimed] == [f"r{n}" for n in range(1201)]
    assert all(delivery.records[0].attempt == 0 and delivery.records[0].redrives == 1 for delivery in claimed)


@pytest.mark.req("QUEUE-9")
async def test_permanent_failures_go_back_only_when_their_code_is_forced() -> None:
    backend = await _parked(2, "SchemaValidation")
    assert (await redrive(backend, "q", _ALL)).plan.refused_by_code == {"SchemaValidation": 2}
    assert (await redrive(backend, "q", _ALL, forced=frozenset({"HashMismatch"}))).moved == 0
    assert (await redrive(backend, "q", _ALL, forced=frozenset({"SchemaValidation"}))).moved == 2
