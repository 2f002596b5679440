"""The way out: limit, budget, breaker, time-out and trace round every call of one outside service (HARDEN-1).

Not: what is sent (vendors), or what an answer means (answers).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import assert_never

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.providers.answers import Answer, NotSentError, OutcomeUnknownError, Progress, TransportError, judge
from fluxa.resilience.guard import Guard, GuardPolicy, Obstacle, Permit, Refused
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue import CallEnding, CallFinished, Hook
from fluxa.telemetry.catalogue.spans import SpanName

Send = Callable[[Progress], Awaitable[Answer]]
"""Makes one request; says in `Progress` when it begins to send, and raises `TransportError` when it cannot go on."""

Trace = Callable[[str, str], AbstractContextManager[object]]
"""Called with target and correlation id; what it gives is open while the request is under way."""

_PAUSE_S = 1.0
"""How long a target is left alone that asked for a pause and did not say how long."""


def traced(target: str, _correlation_id: str) -> AbstractContextManager[object]:
    """The call as a span below the one that its caller is in; nothing where tracing is off."""
    return trace.span(SpanName.CALL, target, attributes={"peer.service": target})


class Gateway:
    """Calls one outside service, and never more of it than it bears.

    Args:
        target: how the service is named in metrics, logs and errors: bounded, so no URL and no id.
        policy: its limits; they hold for this process.
        timeout_s: seconds that a request may take from connecting to its answer.
        clock: monotonic for the guard, the time of day for dates in answers.
        hook: hears of each call.
        chance: gives numbers in [0, 1) that spread rests.
        follow: makes a span of each call.
        sleep: waits for a place; tests pass their own.
    """

    def __init__(
        self,
        target: str,
        policy: GuardPolicy,
        *,
        timeout_s: float,
        clock: Clock,
        hook: Hook,
        chance: Callable[[], float],
        follow: Trace = traced,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._clock = clock
        self._hook = hook
        self._chance = chance
        self._follow = follow
        self._sleep = sleep
        self._guard = Guard.fresh(policy, clock.monotonic())

    @property
    def guard(self) -> Guard:
        """How the service fares, as far as this process knows."""
        return self._guard

    async def call(self, send: Send, *, retry: bool = False, correlation_id: str = "") -> Answer:
        """Make one call; it returns only when the service said that it was done.

        Args:
            send: makes the request.
            retry: whether this piece of work was tried before; such calls are a bounded share of all.
            correlation_id: the story it belongs to.

        Raises:
            NotSentError: nothing was tried; the pace, the budget or the breaker kept it here.
            OutcomeUnknownError: it was sent and no answer came.
            FluxaError: `ProviderThrottled`, `ProviderUnavailable`, `ProviderUnauthorized` or `ProviderRejected`:
                it was not done.
        """
        try:
            permit = await self._admitted(retry=retry)
        except NotSentError as error:
            self._tell(CallEnding.NOT_SENT, 0.0, correlation_id, error)
            raise
        began_s = self._clock.monotonic()
        progress = Progress()
        try:
            with self._follow(self._target, correlation_id):
                answer = await self._exchange(send, progress, permit)
        except FluxaError as error:
            self._tell(_ending(error), self._clock.monotonic() - began_s, correlation_id, error)
            raise
        except BaseException:
            # Cancelled, or a defect of ours: neither speaks for or against the target, but a probe must be given back.
            self._guard = self._guard.abandoned(permit)
            self._tell(CallEnding.ABANDONED, self._clock.monotonic() - began_s, correlation_id)
            raise
        self._tell(CallEnding.DELIVERED, self._clock.monotonic() - began_s, correlation_id)
        return answer

    async def _admitted(self, *, retry: bool) -> Permit:
        now_s = self._clock.monotonic()
        self._guard, place = self._guard.queue_up(now_s, retry=retry)
        if isinstance(place, Refused):
            raise self._refusal(place, now_s)
        if place > now_s:
            await self._sleep(place - now_s)
        # A sleep may end a little early by this clock; the place has come all the same.
        now_s = max(place, self._clock.monotonic())
        self._guard, permit = self._guard.enter(now_s, retry=retry)
        if isinstance(permit, Refused):
            raise self._refusal(permit, now_s)
        return permit

    def _refusal(self, refused: Refused, now_s: float) -> NotSentError:
        match refused.obstacle:
            case Obstacle.PACE:
                code, why = ErrorCode.PROVIDER_THROTTLED, "its pace is used up for now"
            case Obstacle.BUDGET:
                code, why = ErrorCode.PROVIDER_THROTTLED, "its budget for retries is used up for now"
            case Obstacle.BREAKER:
                code, why = ErrorCode.PROVIDER_UNAVAILABLE, "it failed too often in a row and rests"
            case _:
                assert_never(refused.obstacle)
        return NotSentError(code, f"{self._target}: {why}.", retry_after_s=max(0.0, refused.until_s - now_s))

    async def _exchange(self, send: Send, progress: Progress, permit: Permit) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await send(progress)
        except (TimeoutError, TransportError) as error:
            if progress.answered is None:
                raise self._silence(progress, permit, error) from error
            answer = progress.answered  # only its body is missing
        except FluxaError:
            self._guard = self._guard.abandoned(permit)  # it could not be made into a request
            raise
        verdict = judge(answer, now=self._clock.now())
        now_s = self._clock.monotonic()
        if verdict.against_target:
            self._guard = self._guard.failed(permit, now_s, self._chance())
        else:
            self._guard = self._guard.succeeded(permit)
        if verdict.error is None:
            return answer
        pause_s = verdict.error.retry_after_s
        if verdict.error.code == ErrorCode.PROVIDER_THROTTLED:
            pause_s = _PAUSE_S if pause_s is None else pause_s
        if pause_s is not None:
            self._guard = self._guard.held(now_s + pause_s)
        raise _prefixed(self._target, verdict.error)

    def _silence(self, progress: Progress, permit: Permit, error: Exception) -> FluxaError:
        """What it means that there was no answer."""
        detail = str(error) if isinstance(error, TransportError) else f"no answer within {self._timeout_s:g} s"
        self._guard = self._guard.failed(permit, self._clock.monotonic(), self._chance())
        if progress.sent:
            return OutcomeUnknownError(f"{self._target}: it was sent, then {detail}.")
        return FluxaError(ErrorCode.PROVIDER_UNAVAILABLE, f"{self._target}: {detail}.")

    def _tell(self, ending: CallEnding, latency_s: float, correlation_id: str, error: FluxaError | None = None) -> None:
        code, detail = (error.code, error.detail) if error is not None else ("", "")
        self._hook(CallFinished(self._target, ending, latency_s, code, correlation_id, detail))


def _prefixed(target: str, error: FluxaError) -> FluxaError:
    return FluxaError(error.code, f"{target}: {error.detail}", retry_after_s=error.retry_after_s)


def _ending(error: FluxaError) -> CallEnding:
    match error.code:
        case ErrorCode.OUTCOME_UNKNOWN:
            return CallEnding.UNKNOWN
        case ErrorCode.PROVIDER_THROTTLED:
            return CallEnding.THROTTLED
        case ErrorCode.PROVIDER_REJECTED | ErrorCode.PROVIDER_UNAUTHORIZED:
            return CallEnding.REJECTED
        case _:
            return CallEnding.UNAVAILABLE
