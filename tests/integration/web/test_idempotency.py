"""Idempotency-Key on requests, against a real database (PIPE-4)."""

import asyncio
import io

import pytest

from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.telemetry.log import make_logger
from fluxa.web.idempotency import KeyLimits, RequestKeys, fingerprint, key_of
from fluxa.web.responses import Response

ACME = Tenant("acme")
OTHER = Tenant("other")
ONE = b"1" * 32
TWO = b"2" * 32


class _Work:
    """Counts how often a request is carried out, and can be held in the middle."""

    def __init__(self, answer: Response | Exception) -> None:
        self.answer = answer
        self.times = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Response:
        self.times += 1
        self.begun.set()
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _keys(database: Database, limits: KeyLimits | None = None) -> RequestKeys:
    return RequestKeys(database, make_logger("ingest", stream=io.StringIO()), limits)


def _accepted() -> _Work:
    return _Work(Response(status=202, body=b'{"n":1}', content_type="application/json"))


@pytest.mark.req("PIPE-4")
async def test_a_request_sent_again_gets_the_stored_answer_and_is_not_carried_out(database: Database) -> None:
    keys, work = _keys(database), _accepted()
    first = await keys.run(ACME, "k", ONE, work)
    again = await keys.run(ACME, "k", ONE, work)
    assert work.times == 1
    assert first.headers == ()
    assert (again.status, again.body, again.content_type) == (202, b'{"n":1}', "application/json")
    assert again.headers == ((b"idempotency-replayed", b"true"),)


@pytest.mark.req("PIPE-4")
async def test_a_repeat_while_the_first_runs_is_409_with_a_time_to_come_back(database: Database) -> None:
    keys, work = _keys(database), _accepted()
    work.gate.clear()
    first = asyncio.create_task(keys.run(ACME, "k", ONE, work))
    await asyncio.wait_for(work.begun.wait(), 5)
    with pytest.raises(FluxaError) as caught:
        await keys.run(ACME, "k", ONE, work)
    assert caught.value.code == ErrorCode.IDEMPOTENCY_IN_FLIGHT
    assert caught.value.retry_after_s == 1
    work.gate.set()
    assert (await first).status == 202
    assert (await keys.run(ACME, "k", ONE, work)).status == 202
    assert work.times == 1


@pytest.mark.req("PIPE-4")
async def test_the_same_key_with_another_request_is_422_also_while_in_flight(database: Database) -> None:
    keys, work = _keys(database), _accepted()
    work.gate.clear()
    first = asyncio.create_task(keys.run(ACME, "k", ONE, work))
    await asyncio.wait_for(work.begun.wait(), 5)
    with pytest.raises(FluxaError, match="IdempotencyMismatch"):
        await keys.run(ACME, "k", TWO, work)
    work.gate.set()
    await first
    with pytest.raises(FluxaError, match="IdempotencyMismatch"):
        await keys.run(ACME, "k", TWO, work)
    assert work.times == 1


async def test_fifty_at_once_are_carried_out_once(database: Database) -> None:
    keys, work = _keys(database), _accepted()
    answers = await asyncio.gather(*(keys.run(ACME, "k", ONE, work) for _ in range(50)), return_exceptions=True)
    assert work.times == 1
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, FluxaError)
            assert answer.code == ErrorCode.IDEMPOTENCY_IN_FLIGHT
        else:
            assert answer.status == 202


async def test_two_tenants_may_use_the_same_key(database: Database) -> None:
    keys, work = _keys(database), _accepted()
    await keys.run(ACME, "k", ONE, work)
    assert (await keys.run(OTHER, "k", TWO, work)).headers == ()
    assert work.times == 2


@pytest.mark.parametrize(
    "answer",
    [
        Response(status=503),
        Response(status=500),
        Response(status=429),
        FluxaError(ErrorCode.OVERLOADED),
        RuntimeError("x"),
    ],
)
async def test_an_answer_that_a_repeat_may_better_is_not_stored(
    database: Database, answer: Response | Exception
) -> None:
    keys, bad, good = _keys(database), _Work(answer), _accepted()
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            await keys.run(ACME, "k", ONE, bad)
    else:
        await keys.run(ACME, "k", ONE, bad)
    assert (await keys.run(ACME, "k", ONE, good)).status == 202
    assert good.times == 1


@pytest.mark.req("PIPE-4")
async def test_a_request_whose_process_died_can_be_sent_again_when_its_lease_ends(database: Database) -> None:
    keys, work = _keys(database, KeyLimits(lease_s=0.3)), _accepted()
    work.gate.clear()
    dead = asyncio.create_task(keys.run(ACME, "k", ONE, work))
    await asyncio.wait_for(work.begun.wait(), 5)
    dead.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dead
    work.gate.set()
    with pytest.raises(FluxaError, match="IdempotencyInFlight"):
        await keys.run(ACME, "k", ONE, work)
    await database.execute("select pg_sleep(0.35)")
    assert (await keys.run(ACME, "k", ONE, work)).headers == ()


async def test_a_late_answer_does_not_overwrite_the_one_who_took_over(database: Database) -> None:
    keys = _keys(database, KeyLimits(lease_s=0.2))
    slow, fast = _Work(Response(status=202, body=b"slow")), _Work(Response(status=202, body=b"fast"))
    slow.gate.clear()
    late = asyncio.create_task(keys.run(ACME, "k", ONE, slow))
    await asyncio.wait_for(slow.begun.wait(), 5)
    await database.execute("select pg_sleep(0.25)")
    await keys.run(ACME, "k", ONE, fast)
    slow.gate.set()
    assert (await late).body == b"slow"
    assert (await keys.run(ACME, "k", ONE, fast)).body == b"fast"


async def test_an_answer_expires_and_expired_ones_are_deleted_in_batches(database: Database) -> None:
    keys, work = _keys(database, KeyLimits(keep_s=0.1, sweep_rows=3)), _accepted()
    for number in range(5):
        await keys.run(ACME, f"k{number}", ONE, work)
    await database.execute("select pg_sleep(0.15)")
    assert (await keys.run(ACME, "k0", TWO, work)).headers == ()
    await database.execute("select pg_sleep(0.15)")
    assert [await keys.sweep(), await keys.sweep(), await keys.sweep()] == [3, 2, 0]


async def test_the_sweeper_deletes_by_itself_and_ends_when_told(database: Database) -> None:
    keys = _keys(database, KeyLimits(keep_s=0.0, sweep_every_s=0.02, sweep_rows=2))
    for number in range(5):
        await keys.run(ACME, f"k{number}", ONE, _accepted())
    await keys.start()
    await keys.start()
    async with asyncio.timeout(5):
        while await database.fetch_value("select count(*) from fluxa.request_keys"):  # noqa: ASYNC110 - rows do not call back
            await asyncio.sleep(0.01)
    await keys.stop()
    await keys.stop()


async def test_an_outage_after_the_work_does_not_take_its_answer_away(database: Database) -> None:
    keys = _keys(database)

    async def work_then_outage() -> Response:
        await database.stop()
        return Response(status=202, body=b"done")

    assert (await keys.run(ACME, "k", ONE, work_then_outage)).body == b"done"
    with pytest.raises(DatabaseUnavailableError):
        await keys.run(ACME, "k2", ONE, _accepted())


def _scope(*headers: tuple[bytes, bytes], path: bytes = b"/v1/events", query: bytes = b"") -> dict[str, object]:
    return {"method": "POST", "raw_path": path, "query_string": query, "headers": list(headers)}


def test_a_request_without_the_header_has_no_key() -> None:
    assert key_of(_scope((b"host", b"x"))) is None
    assert key_of(_scope((b"idempotency-key", b"abc"))) == "abc"
    assert key_of(_scope((b"idempotency-key", b"x" * 255))) == "x" * 255


@pytest.mark.parametrize("value", [b"", b"x" * 256, b"a b", b"a\x00", "é".encode(), b"a\n"])
def test_a_key_that_is_not_visible_ascii_is_refused(value: bytes) -> None:
    with pytest.raises(FluxaError, match="InvalidRequest"):
        key_of(_scope((b"idempotency-key", value)))


def test_two_keys_in_one_request_are_refused() -> None:
    with pytest.raises(FluxaError, match="InvalidRequest"):
        key_of(_scope((b"idempotency-key", b"a"), (b"idempotency-key", b"b")))


def test_the_fingerprint_tells_requests_apart() -> None:
    base = _scope((b"content-type", b"application/json"), (b"ce-id", b"1"))
    prints = {
        fingerprint(base, b"x"),
        fingerprint(base, b"y"),
        fingerprint(_scope((b"content-type", b"application/json"), (b"ce-id", b"2")), b"x"),
        fingerprint(_scope((b"content-type", b"text/plain"), (b"ce-id", b"1")), b"x"),
        fingerprint(_scope((b"content-type", b"application/json"), (b"ce-id", b"1"), path=b"/other"), b"x"),
        fingerprint(_scope((b"content-type", b"application/json"), (b"ce-id", b"1"), query=b"a=1"), b"x"),
    }
    assert len(prints) == 6
    again = _scope((b"ce-id", b"1"), (b"accept", b"*/*"), (b"content-type", b"application/json"))
    assert fingerprint(again, b"x") == fingerprint(base, b"x")
