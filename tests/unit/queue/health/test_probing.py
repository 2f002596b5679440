"""Probes never fail, never hang, and never grow in number."""

import asyncio

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.queue.health.probing import Answer, ProbeConfig, Prober
from fluxa.telemetry.catalogue import ProbeFailed
from fluxa.testing.signals import Signals


class Question:
    """Fails as often as it is told to, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked = 0

    async def __call__(self) -> int:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return 42


class Stuck:
    """Hangs, and does not heed a cancellation until it is let go, as a driver whose server is gone."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue


def away() -> DatabaseUnavailableError:
    return DatabaseUnavailableError("away")


@pytest.mark.req("QUEUE-7")
@pytest.mark.parametrize(("retries", "failures", "value"), [(0, 1, None), (1, 1, 42), (2, 2, 42), (2, 3, None)])
async def test_what_may_pass_is_asked_again_as_often_as_configured(
    retries: int, failures: int, value: int | None
) -> None:
    signals = Signals()
    prober = Prober(ProbeConfig(retries=retries), clock=SystemClock(), hook=signals.hear)
    question = Question(*(away() for _ in range(failures)))
    answer = await prober.ask("q", "metrics", question, until_s=prober.deadline_s())
    assert answer == (Answer(42) if value else Answer(None, "DBConnectionError: away"))
    assert question.asked == min(failures, retries) + 1
    assert signals.heard == ([] if value else [ProbeFailed("q", "metrics", "DBConnectionError", "away")])


async def test_what_will_not_pass_is_asked_once() -> None:
    prober = Prober(ProbeConfig(retries=5), clock=SystemClock(), hook=Signals().hear)
    question = Question(FluxaError(ErrorCode.DB_REJECTED, "permission denied"))
    assert (await prober.ask("q", "metrics", question, until_s=prober.deadline_s())).value is None
    assert question.asked == 1


async def test_a_defect_in_a_probe_is_an_unknown_part_and_no_more() -> None:
    signals = Signals()
    prober = Prober(ProbeConfig(), clock=SystemClock(), hook=signals.hear)
    answer = await prober.ask("q", "metrics", Question(KeyError("x")), until_s=prober.deadline_s())
    assert answer == Answer(None, "Internal: KeyError: 'x'")


async def test_a_probe_that_hangs_is_given_up_and_keeps_its_place_until_it_ends() -> None:
    signals, stuck = Signals(), Stuck()
    config = ProbeConfig(timeout_s=0.05, retries=0, at_once=2, budget_s=0.3)
    prober = Prober(config, clock=SystemClock(), hook=signals.hear)
    until_s = prober.deadline_s()
    answers = await asyncio.gather(*(prober.ask("q", "metrics", stuck, until_s=until_s) for _ in range(4)))
    assert stuck.asked == 2
    reasons = sorted(answer.reason for answer in answers)
    assert reasons[:2] == ["Timeout: no answer within 0.05 s"] * 2
    assert reasons[2:] == ["Timeout: not asked: other questions took all the time there was"] * 2
    stuck.let_go.set()
    answer = await prober.ask("q", "metrics", Question(), until_s=prober.deadline_s())
    assert answer == Answer(42)
