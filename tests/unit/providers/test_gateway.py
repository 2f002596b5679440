"""The order of limit, budget, breaker and time-out, with time in the test's hand (HARDEN-1, HARDEN-7)."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers.answers import Answer, NotSentError, OutcomeUnknownError, Progress, TransportError
from fluxa.providers.gateway import Gateway, Send
from fluxa.resilience import BreakerPolicy, BreakerState, BudgetPolicy, GuardPolicy, PacePolicy
from fluxa.telemetry.catalogue import CallEnding, CallFinished
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.clock import ManualClock

pytestmark = pytest.mark.req("HARDEN-1", "HARDEN-7", "QUEUE-13")


class Bench:
    """A gateway whose time goes on by its own sleeps."""

    def __init__(self, policy: GuardPolicy, *, timeout_s: float = 5.0) -> None:
        self.clock = ManualClock()
        self.slept_s: list[float] = []
        self.heard: list[CallFinished] = []
        self.gateway = Gateway(
            "provider",
            policy,
            timeout_s=timeout_s,
            clock=self.clock,
            hook=lambda signal: self.heard.append(signal) if isinstance(signal, CallFinished) else None,
            chance=lambda: 0.5,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(seconds)


def answers(status: int, **headers: str) -> Send:
    async def send(progress: Progress) -> Answer:
        progress.sent = True
        return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()})

    return send


def raises(error: Exception, *, sent: bool) -> Send:
    async def send(progress: Progress) -> Answer:
        progress.sent = sent
        raise error

    return send


async def outcome(call: Awaitable[Answer]) -> type[BaseException] | int:
    try:
        return (await call).status
    except FluxaError as error:
        return type(error)


async def test_calls_wait_for_their_place_and_are_refused_when_it_is_too_far() -> None:
    bench = Bench(GuardPolicy(pace=PacePolicy(rate_per_s=2.0), wait_max_s=0.6))
    await bench.gateway.call(answers(200))
    await bench.gateway.call(answers(200))
    assert bench.slept_s == [pytest.approx(0.5)]
    places = [asyncio.create_task(outcome(bench.gateway.call(answers(200)))) for _ in range(1)]
    assert await asyncio.gather(*places) == [200]
    bench.gateway._guard = bench.gateway.guard.held(bench.clock.monotonic() + 30)
    with pytest.raises(NotSentError) as caught:
        await bench.gateway.call(answers(200))
    assert caught.value.retry_after_s == pytest.approx(30)


async def test_an_error_of_ours_before_sending_gives_the_probe_back() -> None:
    bench = Bench(GuardPolicy(breaker=BreakerPolicy(failures=1, rest_s=1.0)))
    await outcome(bench.gateway.call(answers(500)))
    bench.clock.advance(2)
    for error in (FluxaError(ErrorCode.MALFORMED_MESSAGE), ValueError("a defect")):
        with pytest.raises(type(error)):
            await bench.gateway.call(raises(error, sent=False))
        assert (bench.gateway.guard.breaker.state, bench.gateway.guard.breaker.out) == (BreakerState.HALF_OPEN, 0)
    assert await outcome(bench.gateway.call(answers(200))) == 200
    assert bench.gateway.guard.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("sent", "kind", "ending"),
    [(False, FluxaError, CallEnding.UNAVAILABLE), (True, OutcomeUnknownError, CallEnding.UNKNOWN)],
)
async def test_a_lost_connection_means_what_was_sent_before(
    *, sent: bool, kind: type[FluxaError], ending: CallEnding
) -> None:
    bench = Bench(GuardPolicy())
    assert await outcome(bench.gateway.call(raises(TransportError("reset"), sent=sent))) is kind
    assert [signal.ending for signal in bench.heard] == [ending]
    assert bench.gateway.guard.breaker.streak == 1


@pytest.mark.parametrize(("sent", "kind"), [(False, FluxaError), (True, OutcomeUnknownError)])
async def test_a_time_out_means_what_was_sent_before(*, sent: bool, kind: type[FluxaError]) -> None:
    async def hang(progress: Progress) -> Answer:
        progress.sent = sent
        await asyncio.Event().wait()
        return Answer(200)

    bench = Bench(GuardPolicy(), timeout_s=0.01)
    assert await outcome(bench.gateway.call(hang)) is kind


async def test_a_status_that_came_before_the_time_was_up_counts() -> None:
    async def dawdle(progress: Progress) -> Answer:
        progress.sent, progress.answered = True, Answer(201)
        await asyncio.Event().wait()
        return Answer(201)

    bench = Bench(GuardPolicy(), timeout_s=0.01)
    assert await outcome(bench.gateway.call(dawdle)) == 201


async def test_retries_are_a_share_of_first_attempts() -> None:
    bench = Bench(GuardPolicy(budget=BudgetPolicy(share=0.2, floor_per_s=0.0), breaker=BreakerPolicy(failures=10_000)))
    done: list[object] = []
    for _ in range(100):
        await bench.gateway.call(answers(200))
        done.append(await outcome(bench.gateway.call(answers(503), retry=True)))
    assert done.count(NotSentError) == 80


async def test_a_pause_of_the_provider_holds_everything_and_a_breaker_rests_longer_each_time() -> None:
    bench = Bench(GuardPolicy(breaker=BreakerPolicy(failures=1, rest_s=10.0)))
    rests: list[float | None] = []
    for _ in range(3):
        await outcome(bench.gateway.call(answers(503, retry_after="2")))
        with pytest.raises(NotSentError) as caught:
            await bench.gateway.call(answers(200))
        rests.append(caught.value.retry_after_s)
        bench.clock.advance(caught.value.retry_after_s or 0.0)
    assert rests == [pytest.approx(10.0), pytest.approx(20.0), pytest.approx(40.0)]


@pytest.mark.req("OBS-1")
async def test_calls_are_counted_by_target_and_ending_and_timed_when_they_were_made() -> None:
    metrics = Metrics()
    gateway = Gateway(
        "provider",
        GuardPolicy(breaker=BreakerPolicy(failures=1)),
        timeout_s=1.0,
        clock=ManualClock(),
        hook=metrics.hear,
        chance=lambda: 0.5,
    )
    scripts: list[Callable[[], Send]] = [lambda: answers(200), lambda: answers(500), lambda: answers(200)]
    for script in scripts:
        await outcome(gateway.call(script()))
    text = metrics.exposition().decode()
    for status in ("delivered", "unavailable", "not_sent"):
        assert f'worker_backend_requests_total{{status="{status}",target="provider"}} 1.0' in text
    assert 'worker_backend_request_duration_seconds_count{target="provider"} 2.0' in text
