"""The demonstration's audit: every way in which book and database can differ is noticed."""

from collections import Counter
from collections.abc import Callable

import pytest

from demo.ledger import Check, Found, Ledger, audit
from demo.mischief import Kind, Line

A, B, PARKED = ("/s", "a"), ("/s", "b"), ("/s", "p")
CODES = {PARKED: "HashMismatch"}


def _line(identity: tuple[str, str], kind: Kind = Kind.FIRST, refusal: str | None = None) -> Line:
    return Line(b"{}", kind, identity, refusal)


def _book() -> Ledger:
    book = Ledger()
    for identity in (A, B, PARKED):
        book.answered(_line(identity), None)
    book.answered(_line(A, Kind.AGAIN), None)
    book.answered(_line(B, Kind.FORGED, "HashMismatch"), "HashMismatch")
    return book


def _found() -> Found:
    return Found(stored=Counter({A: 1, B: 1}), seen={A: 2, B: 1}, parked=dict(CODES), queued=0)


def _failing(book: Ledger, found: Found) -> set[str]:
    return {check.claim for check in audit(book, found, CODES) if not check.holds}


def test_a_run_in_which_all_went_well_holds() -> None:
    assert _failing(_book(), _found()) == set()
    assert (_book().accepted, _book().distinct, _book().duplicates) == (4, 3, 1)


def _lose(found: Found) -> None:
    del found.stored[B], found.seen[B]


def _double(found: Found) -> None:
    found.stored[A] = 2


def _invent(found: Found) -> None:
    found.stored["/s", "stranger"] = 1


def _miscount(found: Found) -> None:
    found.seen[A] = 5


def _other_code(found: Found) -> None:
    found.parked[PARKED] = "SchemaValidation"


def _park_another(found: Found) -> None:
    found.parked[B] = "HandlerCrash"
    del found.stored[B], found.seen[B]


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (_lose, "acknowledged, but neither stored nor parked"),
        (_lose, "acknowledged and stored exactly once"),
        (_double, "stored twice"),
        (_double, "acknowledged and stored exactly once"),
        (_invent, "stored, but never acknowledged"),
        (_miscount, "identities counted otherwise than sent"),
        (_miscount, "duplicates acknowledged, not stored"),
        (_other_code, "parked as HashMismatch"),
        (_other_code, "parked otherwise"),
        (_park_another, "parked otherwise"),
    ],
)
def test_a_difference_is_noticed(spoil: Callable[[Found], None], claim: str) -> None:
    found = _found()
    spoil(found)
    assert claim in _failing(_book(), found)


def test_an_unexpected_answer_is_noticed() -> None:
    book = _book()
    book.answered(_line(B, Kind.MALFORMED, "MalformedJson"), "InvalidEvent")
    assert "answers other than expected" in _failing(book, _found())


def test_a_request_without_an_answer_may_have_arrived_or_not() -> None:
    book = _book()
    book.lost([_line(A), _line(B, Kind.FORGED, "HashMismatch")])
    assert _failing(book, _found()) == set()
    arrived = _found()
    arrived.seen[A] = 3
    assert _failing(book, arrived) == set()
    more = _found()
    more.seen[A] = 4
    assert "identities counted otherwise than sent" in _failing(book, more)


def test_a_message_left_in_the_queue_is_noticed() -> None:
    left = Found(stored=Counter({A: 1, B: 1}), seen={A: 2, B: 1}, parked=dict(CODES), queued=1)
    assert _failing(_book(), left) == {"messages left in the queue"}


def test_a_check_compares_what_is_shown() -> None:
    assert Check("c", "1", "1").holds
    assert not Check("c", "1", "2").holds
