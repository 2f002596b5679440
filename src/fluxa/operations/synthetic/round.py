"""All checks once, side by side. Not: when, or what becomes of the outcomes (prober)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from fluxa.kernel.clock import Clock
from fluxa.operations.synthetic.canary import Canary, Flight, Waiting, Way
from fluxa.operations.synthetic.check import PAGES, PIPELINE, CheckName, Outcome, Result
from fluxa.operations.synthetic.probe import probe, target_of

_TARGETS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is.

    Attributes:
        bases: URLs of all processes.
        way: where events go in and come out; None if that is not known.
    """

    bases: Sequence[str]
    way: Way | None


@dataclass(frozen=True, slots=True)
class Done:
    """What a round found.

    Attributes:
        outcomes: of each check and target.
        waiting: a canary that has not arrived.
        arrived: ids of canaries that did, and are to be deleted.
    """

    outcomes: Sequence[Outcome]
    waiting: Waiting | None
    arrived: Sequence[str]


class Round:
    """Does all checks.

    Args:
        places: says where everything is now.
        canary: sends events.
        checks: which are done.
        clock: the time.
        timeout_s: seconds that one answer may take.
    """

    def __init__(
        self,
        places: Callable[[], Awaitable[Places]],
        canary: Canary,
        checks: tuple[CheckName, ...],
        *,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._places = places
        self._canary = canary
        self._checks = checks
        self._clock = clock
        self._timeout_s = timeout_s

    async def run(self, waiting: Waiting | None = None) -> Done:
        """Do them; what is wrong with a target is an outcome, never an error.

        Each round has connections of its own, as a caller who comes for the first time.

        Args:
            waiting: a canary of before that had not arrived.

        Raises:
            FluxaError: `Configuration`, for places that are none.
        """
        places = await self._places()
        gate = asyncio.Semaphore(_TARGETS_AT_ONCE)

        async def ask(base: str) -> list[Outcome]:
            async with gate:
                try:
                    return await probe(client, base, self._checks, clock=self._clock, timeout_s=self._timeout_s)
                except Exception as error:  # noqa: BLE001 - our own fault with one target says nothing of any
                    pages = [check for check in self._checks if check in PAGES]
                    return [Outcome(page, target_of(base), Result.UNKNOWN, None, repr(error)) for page in pages]

        limits = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(timeout=self._timeout_s, limits=limits, trust_env=False) as client,
            asyncio.TaskGroup() as tasks,
        ):
            flying = tasks.create_task(self._fly(client, places.way, waiting))
            asking = [tasks.create_task(ask(base)) for base in places.bases]
        outcomes = [one for task in asking for one in task.result()]
        flight = flying.result()
        if flight is not None:
            outcomes.append(flight.outcome)
        return Done(outcomes, flight.waiting if flight else waiting, flight.arrived if flight else ())

    async def _fly(self, client: httpx.AsyncClient, way: Way | None, waiting: Waiting | None) -> Flight | None:
        if CheckName.CANARY not in self._checks:
            return None
        if way is None:
            detail = "it is not known where ingest and query are: set ingest_url and query_url"
            return Flight(Outcome(CheckName.CANARY, PIPELINE, Result.UNKNOWN, None, detail), waiting)
        return await self._canary.fly(client, way, waiting)
