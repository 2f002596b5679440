"""Whatever bytes a request is made of, what reads it answers with a value or a refusal, never with a crash."""

import asyncio
import datetime as dt
import itertools
import json
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import CorrelationId
from fluxa.web.bodies import Bodies, BodyBudget, ClientDisconnectedError
from fluxa.web.idempotency import fingerprint, key_of
from fluxa.web.problems import problem
from fluxa.web.queries import Query
from fluxa.web.routes import UNCOUNTED, Auth, Call, Message, Operation, Receive, Route, Scope, Send
from fluxa.web.table import Table

T = TypeVar("T")


def _outcome(work: Callable[[], T]) -> T | FluxaError | ClientDisconnectedError:
    """What a piece of work ends with."""
    try:
        return work()
    except (FluxaError, ClientDisconnectedError) as error:
        return error


async def _endpoint(_call: Call, _scope: Scope, _receive: Receive, _send: Send) -> None: ...


def _route(name: str, path: str, *methods: str) -> Route:
    return Route(name, path, methods, Auth.OPEN, _endpoint, Operation(name), UNCOUNTED)


TABLE = Table([_route("list", "/v1/events", "GET", "POST"), _route("get", "/v1/events/{id}", "GET")])
NAMES = frozenset({"type", "limit", "from"})


@given(
    st.sampled_from(["GET", "POST", "HEAD", "X"]),
    st.binary(max_size=80) | st.binary(max_size=40).map(lambda b: b"/v1/events/" + b),
)
def test_any_path_leads_to_a_route_or_to_a_refusal(method: str, raw_path: bytes) -> None:
    found = _outcome(lambda: TABLE.find(method, raw_path))
    if isinstance(found, tuple):
        route, params = found
        assert route.name in {"list", "get"}
        assert all(isinstance(value, str) for value in params.values())
    else:
        assert isinstance(found, FluxaError)
        assert found.spec.status in {400, 404, 405}


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_part_of_a_path_comes_back_as_it_was_meant(text: str) -> None:
    raw = "".join(f"%{byte:02x}" for byte in text.encode()).encode()
    assert TABLE.find("GET", b"/v1/events/" + raw)[1] == {"id": text}


@given(
    st.binary(max_size=120)
    | st.sampled_from(sorted(NAMES)).flatmap(lambda n: st.binary(max_size=60).map(lambda v: n.encode() + b"=" + v))
)
def test_any_query_is_read_or_refused_with_a_pointer(raw: bytes) -> None:
    def read() -> tuple[str | None, int, dt.datetime | None]:
        query = Query({"query_string": raw}, NAMES)
        return query.text("type"), query.integer("limit", default=5, minimum=1, maximum=9), query.moment("from")

    found = _outcome(read)
    if isinstance(found, tuple):
        text, number, moment = found
        assert text is None or not any(ord(character) < 32 for character in text)
        assert 1 <= number <= 9
        assert moment is None or moment.utcoffset() == dt.timedelta(0)
    else:
        assert isinstance(found, FluxaError)
        assert found.code == ErrorCode.INVALID_REQUEST
        assert found.pointer is not None
        json.loads(problem(found, CorrelationId("c")).body)


@given(st.text(), st.none() | st.text(), st.none() | st.floats(min_value=0, max_value=1e6))
def test_any_error_becomes_a_document_that_parses(
    detail: str, pointer: str | None, retry_after_s: float | None
) -> None:
    error = FluxaError(ErrorCode.INVALID_EVENT, detail, pointer=pointer, retry_after_s=retry_after_s)
    answer = problem(error, CorrelationId("c"))
    document = json.loads(answer.body)
    assert (document["code"], document["status"], answer.status) == ("InvalidEvent", 422, 422)
    if retry_after_s is not None:
        (after,) = (int(value) for name, value in answer.headers if name == b"retry-after")
        assert after >= max(1, retry_after_s)


@given(
    st.lists(
        st.tuples(st.sampled_from([b"idempotency-key", b"ce-id", b"content-type"]), st.binary(max_size=300)), max_size=4
    ),
    st.binary(max_size=50),
)
def test_any_idempotency_key_is_taken_or_refused(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    scope = {"method": "POST", "raw_path": b"/v1/events", "query_string": b"", "headers": headers}
    assert len(fingerprint(scope, body)) == 32
    key = _outcome(lambda: key_of(scope))
    if isinstance(key, FluxaError):
        assert key.code == ErrorCode.INVALID_REQUEST
    else:
        assert key is None or (isinstance(key, str) and key.isascii() and 1 <= len(key) <= 255)


@given(parts=st.lists(st.binary(max_size=40), max_size=8), announced=st.booleans(), leaves=st.booleans())
def test_a_body_in_any_pieces_is_whole_or_refused_and_its_memory_comes_back(
    *, parts: list[bytes], announced: bool, leaves: bool
) -> None:
    body = b"".join(parts)
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append(
        {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b"", "more_body": False}
    )
    queue = itertools.chain(messages)
    headers = [(b"content-length", b"%d" % len(body))] if announced else []
    budget = BodyBudget(120)

    async def receive() -> Message:
        return next(queue)

    async def read() -> bytes:
        async with Bodies(max_bytes=100, budget=budget).read({"headers": headers}, receive) as whole:
            assert budget.taken_bytes >= len(whole)
            return whole

    found = _outcome(lambda: asyncio.run(read()))
    if isinstance(found, FluxaError):
        assert found.code == ErrorCode.REQUEST_TOO_LARGE
        assert len(body) > 100
    elif isinstance(found, ClientDisconnectedError):
        assert leaves
    else:
        assert found == body
        assert len(body) <= 100
        assert not leaves
    assert budget.taken_bytes == 0


@pytest.mark.req("PIPE-5")
def test_memory_that_is_taken_is_refused_and_given_back() -> None:
    budget = BodyBudget(10)
    budget.take(6)
    with pytest.raises(FluxaError, match="Overloaded") as caught:
        budget.take(5)
    assert caught.value.retry_after_s
    assert budget.taken_bytes == 6
    budget.give_back(6)
    budget.take(10)
