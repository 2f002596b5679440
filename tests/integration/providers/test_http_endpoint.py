"""Deliveries to real servers: what they carry, and how each way to fail is told apart (QUEUE-13)."""

import asyncio
import datetime as dt
import email.utils
from dataclasses import replace

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import trace_id
from fluxa.providers.answers import NotSentError, OutcomeUnknownError
from fluxa.resilience import BreakerPolicy, GuardPolicy, PacePolicy
from fluxa.telemetry.catalogue import CallEnding, CallFinished
from integration.providers.deliveries import PARCEL, STORY, config, delivering, new_secret
from integration.providers.receivers import Received, answering, receiver

pytestmark = pytest.mark.req("QUEUE-13")


async def test_a_record_arrives_as_it_was_sent_with_its_story_and_our_credential() -> None:
    body = bytes(range(256))
    async with (
        receiver(answering()) as server,
        delivering(replace(config(server.url), bearer="service-role")) as out,
    ):
        await out.deliver(replace(PARCEL, body=body, content_type="application/octet-stream"))
    (received,) = server.received
    assert (received.line, received.body) == ("POST /take HTTP/1.1", body)
    wanted = {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/octet-stream",
        "content-length": "256",
        "authorization": "Bearer service-role",
        "x-correlation-id": STORY,
        "webhook-id": "rec-1",
        "idempotency-key": "rec-1",
    }
    assert {name: received.headers.get(name) for name in wanted} == wanted
    assert trace_id(received.headers["traceparent"]) == STORY
    assert "webhook-signature" not in received.headers


async def test_the_official_library_accepts_the_signature_with_the_old_and_the_new_secret() -> None:
    old, new, foreign = new_secret(), new_secret(), new_secret()
    async with receiver(answering()) as server, delivering(replace(config(server.url), secrets=(new, old))) as out:
        await out.deliver()
    (received,) = server.received
    for secret in (old, new):
        assert Webhook(secret).verify(received.body, received.headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(foreign).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(received.body.replace(b"1", b"2"), received.headers)


async def test_an_id_that_could_shift_what_is_signed_is_replaced_by_its_digest() -> None:
    secret = new_secret()
    async with receiver(answering()) as server, delivering(replace(config(server.url), secrets=(secret,))) as out:
        for name in ("order.1734000000.x", "ä\r\nx-evil: 1"):
            await out.deliver(replace(PARCEL, id=name))
            await out.deliver(replace(PARCEL, id=name, attempt=2))
    ids = [received.headers["webhook-id"] for received in server.received]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    for received in server.received:
        assert "." not in received.headers["webhook-id"]
        Webhook(secret).verify(received.body, received.headers)


async def test_what_would_break_a_header_is_no_request() -> None:
    async with receiver(answering()) as server, delivering(config(server.url)) as out:
        error = await out.fails(replace(PARCEL, content_type="text/plain\r\nx-evil: 1"))
        await out.deliver(replace(PARCEL, correlation_id="a\r\nx-evil: 1"))
    assert error.code == ErrorCode.MALFORMED_MESSAGE
    (received,) = server.received
    assert not {"x-evil", "x-correlation-id", "traceparent"} & set(received.headers)


@pytest.mark.parametrize(
    ("status", "code", "ending"),
    [
        ("301 Moved", ErrorCode.PROVIDER_REJECTED, CallEnding.REJECTED),
        ("307 Temporary", ErrorCode.PROVIDER_REJECTED, CallEnding.REJECTED),
        ("400 Bad", ErrorCode.PROVIDER_REJECTED, CallEnding.REJECTED),
        ("401 Who", ErrorCode.PROVIDER_UNAUTHORIZED, CallEnding.REJECTED),
        ("403 No", ErrorCode.PROVIDER_UNAUTHORIZED, CallEnding.REJECTED),
        ("404 Nowhere", ErrorCode.PROVIDER_REJECTED, CallEnding.REJECTED),
        ("408 Slow", ErrorCode.PROVIDER_UNAVAILABLE, CallEnding.UNAVAILABLE),
        ("422 Unfit", ErrorCode.PROVIDER_REJECTED, CallEnding.REJECTED),
        ("429 Slower", ErrorCode.PROVIDER_THROTTLED, CallEnding.THROTTLED),
        ("500 Oops", ErrorCode.PROVIDER_UNAVAILABLE, CallEnding.UNAVAILABLE),
        ("503 Later", ErrorCode.PROVIDER_UNAVAILABLE, CallEnding.UNAVAILABLE),
    ],
)
async def test_each_status_means_one_thing(status: str, code: ErrorCode, ending: CallEnding) -> None:
    async with receiver(answering(status, b"why \x1b[31mnot")) as server, delivering(config(server.url)) as out:
        error = await out.fails()
    assert (error.code, out.endings) == (code, [ending])
    assert status[:3] in error.detail
    assert "\x1b" not in error.detail


async def test_every_success_is_one() -> None:
    for status in ("200 OK", "201 Created", "202 Accepted", "204 Done", "299 Odd"):
        async with receiver(answering(status)) as server, delivering(config(server.url)) as out:
            await out.deliver()
        assert out.endings == [CallEnding.DELIVERED]


async def test_a_redirect_is_not_followed() -> None:
    async with receiver(answering()) as inner:
        moved = answering("307 Temporary Redirect", location=inner.url)
        async with receiver(moved) as server, delivering(config(server.url)) as out:
            error = await out.fails()
    assert error.code == ErrorCode.PROVIDER_REJECTED
    assert "redirects are not followed" in error.detail
    assert not inner.received


async def test_a_server_that_repeats_our_credential_does_not_bring_it_into_the_logs() -> None:
    async def echo(received: Received, writer: asyncio.StreamWriter) -> None:
        await answering("400 Bad", received.headers["authorization"].encode())(received, writer)

    async with receiver(echo) as server, delivering(replace(config(server.url), bearer="hush-hush")) as out:
        error = await out.fails()
    assert "hush" not in error.detail
    assert "****" in error.detail


async def test_retry_after_is_heeded_as_seconds_and_as_a_date_by_all_that_follow() -> None:
    in_a_minute = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)  # noqa: TID251 - the wall clock of HTTP dates
    for value in ("60", email.utils.format_datetime(in_a_minute, usegmt=True)):
        throttles = answering("429 Slower", retry_after=value)
        async with receiver(throttles) as server, delivering(config(server.url)) as out:
            error = await out.fails()
            kept = await out.fails()
        assert error.retry_after_s == pytest.approx(60, abs=20)  # a busy machine may be slow to ask
        assert isinstance(kept, NotSentError)
        assert kept.retry_after_s == pytest.approx(60, abs=20)
        assert (len(server.received), out.endings) == (1, [CallEnding.THROTTLED, CallEnding.NOT_SENT])


async def test_calls_keep_the_pace_of_the_endpoint() -> None:
    guard = GuardPolicy(pace=PacePolicy(rate_per_s=20.0, burst=2), wait_max_s=5.0)
    times: list[float] = []

    async def noting(received: Received, writer: asyncio.StreamWriter) -> None:
        times.append(asyncio.get_running_loop().time())
        await answering()(received, writer)

    async with receiver(noting) as server, delivering(replace(config(server.url), guard=guard)) as out:
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(out.deliver() for _ in range(8)))
    for number, at_s in enumerate(sorted(times)):
        assert at_s - began_s >= max(0, number - 1) / 20.0 - 0.002


async def test_a_dead_endpoint_is_left_alone_after_a_few_failures_and_no_attempt_is_made() -> None:
    guard = GuardPolicy(breaker=BreakerPolicy(failures=3, rest_s=60.0))
    async with receiver(answering("500 Oops")) as server, delivering(replace(config(server.url), guard=guard)) as out:
        errors = [await out.fails() for _ in range(6)]
    assert [type(error) for error in errors] == [FluxaError] * 3 + [NotSentError] * 3
    assert len(server.received) == 3
    assert errors[-1].retry_after_s == pytest.approx(60, rel=0.2)


async def test_refused_work_does_not_count_against_an_endpoint_that_is_well() -> None:
    guard = GuardPolicy(breaker=BreakerPolicy(failures=2, rest_s=60.0))
    async with receiver(answering("422 Unfit")) as server, delivering(replace(config(server.url), guard=guard)) as out:
        for _ in range(6):
            assert (await out.fails()).code == ErrorCode.PROVIDER_REJECTED
    assert len(server.received) == 6


async def test_retries_beyond_the_budget_are_kept_while_first_attempts_go_on() -> None:
    async with receiver(answering()) as server, delivering(config(server.url)) as out:
        again = replace(PARCEL, attempt=2)
        ended = await asyncio.gather(*(out.deliver(again) for _ in range(15)), return_exceptions=True)
        await out.deliver()
    kept = [error for error in ended if isinstance(error, NotSentError)]
    assert len(kept) == 5  # ten are free: a floor of one a second, over ten seconds
    assert len(server.received) == 11


async def test_nobody_listens_is_known_not_to_have_been_sent() -> None:
    async with receiver(answering()) as server:
        url = server.url
    async with delivering(config(url)) as out:
        error = await out.fails()
    assert error.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert not isinstance(error, OutcomeUnknownError)


async def hang(_received: Received, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_up(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def garbage(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xffSSH-2.0-not-http\r\n\r\n" * 10)
    await writer.drain()


async def endless_head(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"y" * 8000 + b"\r\n")
        await writer.drain()


async def head_by_drops(_received: Received, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + b"x-slow: 1\r\n" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("behaviour", [hang, hang_up, garbage, endless_head, head_by_drops])
async def test_no_answer_after_it_was_sent_is_an_unknown_outcome(behaviour: object) -> None:
    assert callable(behaviour)
    async with (
        receiver(behaviour) as server,
        delivering(replace(config(server.url), timeout_s=0.5)) as out,
    ):
        async with asyncio.timeout(3):
            error = await out.fails()
    assert isinstance(error, OutcomeUnknownError)
    assert out.endings == [CallEnding.UNKNOWN]
    assert len(server.received) == 1


async def huge(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"z" * 0x10000 + b"\r\n")
        await writer.drain()


async def body_by_drops(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"z")
        await writer.drain()
        await asyncio.sleep(0.02)


async def test_an_endless_body_is_cut_off_and_its_status_counts() -> None:
    async with receiver(huge) as server, delivering(config(server.url)) as out:
        async with asyncio.timeout(3):
            error = await out.fails()
    assert error.code == ErrorCode.PROVIDER_REJECTED
    assert len(error.detail) < 500


@pytest.mark.parametrize("timeout_s", [0.5, 5.0])
async def test_a_body_that_never_ends_does_not_make_a_delivery_uncertain(timeout_s: float) -> None:
    async with (
        receiver(body_by_drops) as server,
        delivering(replace(config(server.url), timeout_s=timeout_s)) as out,
    ):
        async with asyncio.timeout(4):
            await out.deliver()
    assert out.endings == [CallEnding.DELIVERED]


async def test_a_delivery_that_is_cancelled_gives_its_probe_back() -> None:
    guard = GuardPolicy(breaker=BreakerPolicy(failures=1, rest_s=0.0))
    arrived = asyncio.Event()

    async def hang_at_the_probe(received: Received, writer: asyncio.StreamWriter) -> None:
        if len(server.received) == 1:
            return await answering("500 Oops")(received, writer)
        arrived.set()
        return await hang(received, writer)

    async with receiver(hang_at_the_probe) as server, delivering(replace(config(server.url), guard=guard)) as out:
        await out.fails()
        probe = asyncio.create_task(out.deliver())
        await arrived.wait()
        assert isinstance(await out.fails(), NotSentError)  # one probe is all that is let through
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        assert out.endings[-1] is CallEnding.ABANDONED
        server.behaviour = answering()
        await out.deliver()
    assert out.endings.count(CallEnding.DELIVERED) == 1


async def test_connections_are_used_again_only_where_repetitions_are_known() -> None:
    for dedupes, connections in ((True, 1), (False, 3)):
        async with (
            receiver(answering()) as server,
            delivering(replace(config(server.url), dedupes=dedupes)) as out,
        ):
            for _ in range(3):
                await out.deliver()
        assert server.connections == connections


async def test_latency_and_ending_are_told() -> None:
    async with receiver(answering()) as server, delivering(config(server.url)) as out:
        await out.deliver()
    signal = await out.signals.wait_for(CallFinished)
    assert (signal.target, signal.ending, signal.correlation_id) == ("package_generation", "delivered", STORY)
    assert 0 < signal.latency_s < 5
