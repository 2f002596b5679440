"""Which dead letters may be sent again: pure decisions, for every letter and every order."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode, RetryClass, retry_class
from fluxa.queue.dead_letters.choice import Planner, Terms, Verdict, class_of, judge, judge_all
from fluxa.queue.dead_letters.runner import chunk_letters
from fluxa.queue.record import DeadLetter, Failure, Record

pytestmark = pytest.mark.req("QUEUE-9")

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def _letter(
    number: int,
    code: str,
    retry: RetryClass | None = None,
    *,
    inside: str | None = None,
    redrives: int = 0,
    readable: bool = True,
) -> DeadLetter:
    failure = Failure(code=inside or code, detail="", first_at=_NOW, last_at=_NOW)
    return DeadLetter(
        message_id=str(number),
        queue="q",
        record=Record(id=f"r{number}", body=b"", created_at=_NOW, redrives=redrives, failure=failure),
        code=code,
        retry=retry or retry_class(code),
        reason="",
        attempts=1,
        first_failed_at=_NOW,
        last_failed_at=_NOW,
        readable=readable,
    )


_LETTERS = st.lists(
    st.builds(
        lambda code, redrives, readable: _letter(0, code, redrives=redrives, readable=readable),
        st.sampled_from(ErrorCode),
        st.integers(0, 8),
        st.booleans(),
    )
).map(
    lambda letters: [
        _letter(n, one.code, redrives=one.record.redrives, readable=one.readable) for n, one in enumerate(letters, 1)
    ]
)


@given(
    letters=_LETTERS, forced=st.frozensets(st.sampled_from(ErrorCode), max_size=3), most=st.none() | st.integers(1, 9)
)
def test_every_letter_has_one_place_and_only_named_codes_are_forced(
    letters: list[DeadLetter], forced: frozenset[ErrorCode], most: int | None
) -> None:
    terms = Terms(frozenset(forced), most)
    judged = judge_all(letters, terms)
    assert len(judged.move) + judged.refused + len(judged.quarantine) == len(letters)
    moved = [letter for letter in letters if letter.message_id in judged.move]
    assert all(letter.retry is RetryClass.TRANSIENT or letter.code in forced for letter in moved)
    assert all(letter.readable or letter.code in forced for letter in moved)
    assert all(most is None or letter.record.redrives < most for letter in moved)
    assert not any(letter.readable for letter in judged.quarantine)
    planner = Planner(terms)
    for letter in letters:
        planner.add([letter])
    plan = planner.plan()
    assert (plan.moving, plan.refused, plan.looped, plan.quarantined) == (
        len(judged.move),
        judged.refused,
        judged.looped,
        len(judged.quarantine),
    )
    assert sum(plan.by_class.values()) == plan.moving


@pytest.mark.req("PIPE-3")
def test_a_header_that_calls_tampering_transient_changes_nothing() -> None:
    assert judge(_letter(1, "HashMismatch", RetryClass.TRANSIENT), Terms()) is Verdict.REFUSE
    assert judge(_letter(1, "HandlerError", inside="SchemaValidation"), Terms()) is Verdict.REFUSE
    assert class_of(_letter(1, "HandlerError", RetryClass.SECURITY)) is RetryClass.SECURITY


def test_what_was_altered_is_quarantined_and_what_was_never_readable_stays() -> None:
    assert judge(_letter(1, "HashMismatch", readable=False), Terms()) is Verdict.QUARANTINE
    assert judge(_letter(1, "HandlerError", readable=False), Terms()) is Verdict.QUARANTINE
    assert judge(_letter(1, "MalformedMessage", readable=False), Terms()) is Verdict.REFUSE
    # One that became unreadable after it was parked has the class of what was done to it.
    assert judge(_letter(1, "MalformedMessage", RetryClass.SECURITY, readable=False), Terms()) is Verdict.QUARANTINE
    assert judge(_letter(1, "HashMismatch", readable=False), Terms(frozenset({"HashMismatch"}))) is Verdict.MOVE


def test_a_queue_can_make_a_class_stricter_and_never_looser() -> None:
    strict = Terms(class_of=lambda code: RetryClass.PERMANENT if code == "Declined" else RetryClass.TRANSIENT)
    assert judge(_letter(1, "Declined"), strict) is Verdict.REFUSE
    assert judge(_letter(1, "SchemaValidation"), strict) is Verdict.REFUSE
    assert judge(_letter(1, "HandlerError"), strict) is Verdict.MOVE


@pytest.mark.parametrize(("rate", "letters"), [(None, 500), (0.1, 1), (1, 1), (100, 10), (2000, 200), (90_000, 500)])
def test_a_chunk_is_a_moments_worth(rate: float | None, letters: int) -> None:
    assert chunk_letters(rate) == letters


def test_a_chunk_that_is_late_takes_along_what_came_due() -> None:
    assert chunk_letters(100, 0.15) == 25
    assert chunk_letters(100, 60) == chunk_letters(100, 1) <= 111
