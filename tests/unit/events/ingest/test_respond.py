"""The answer made of results: its status, what it tells and what it keeps to itself."""

import json
from typing import Any

import pytest

from fluxa.events.ingest.head import Head, read_head
from fluxa.events.ingest.routes import respond
from fluxa.events.ingest.schemas import Result
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId

GOOD = Result("accepted", "1", "/s")


def answer(*results: Result | FluxaError, minimal: bool = False) -> tuple[int, dict[str, Any]]:
    prefer = [(b"prefer", b"return=minimal")] if minimal else []
    head: Head = read_head([(b"content-type", b"application/x-ndjson"), *prefer])
    found = respond(results, head, CorrelationId("c"))
    return found.status, json.loads(found.body)


def bad(code: ErrorCode = ErrorCode.INVALID_EVENT, detail: str = "why") -> FluxaError:
    return FluxaError(code, detail, pointer="/0")


@pytest.mark.req("PIPE-1")
def test_one_accepted_event_makes_it_202() -> None:
    status, told = answer(bad(), GOOD, bad(ErrorCode.HASH_MISMATCH))
    assert (status, told["accepted"], told["refused"]) == (202, 1, 2)
    assert [one.get("code") for one in told["results"]] == ["InvalidEvent", None, "HashMismatch"]


@pytest.mark.req("PIPE-1")
def test_the_short_answer_names_places() -> None:
    _, told = answer(GOOD, bad(), GOOD, bad(), minimal=True)
    assert [one["index"] for one in told["results"]] == [1, 3]


@pytest.mark.req("PIPE-2")
@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((ErrorCode.HASH_MISMATCH, ErrorCode.HASH_MISMATCH), "HashMismatch"),
        ((ErrorCode.HASH_MISMATCH, ErrorCode.EVENT_TOO_LARGE), "InvalidEvent"),
    ],
)
def test_no_accepted_event_makes_it_a_problem(codes: tuple[ErrorCode, ...], code: str) -> None:
    status, told = answer(*(bad(one) for one in codes), minimal=True)
    assert (status, told["status"], told["code"]) == (422, 422, code)
    assert [one["code"] for one in told["results"]] == [one.value for one in codes]


def test_what_the_database_said_is_for_the_log() -> None:
    _, told = answer(GOOD, bad(ErrorCode.DB_REJECTED, "relation pgmq.q_events"))
    assert told["results"][1]["detail"] == "Postgres refused the statement"


def test_a_detail_that_utf8_cannot_carry_is_told_all_the_same() -> None:
    _, told = answer(GOOD, bad(detail="half \ud800 a pair"))
    assert told["results"][1]["detail"] == "half ? a pair"
