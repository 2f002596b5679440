"""One lane of the processor: claim, verify, persist, again; outlives outages, gives back what it cannot finish."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fluxa.events.carriage import QUEUE
from fluxa.events.process import rules, spans, telling
from fluxa.events.process.batch import Batch
from fluxa.events.process.persist import Persisted, Persister
from fluxa.events.process.solitude import Solitude
from fluxa.events.process.standing import Standing
from fluxa.events.process.verify import Verifier
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.queue.backend import Delivery, QueueBackend
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.worker.leases import LeaseKeeper
from fluxa.queue.worker.limits.outage import Outage
from fluxa.queue.worker.triage import triage
from fluxa.resilience import backoff
from fluxa.telemetry.catalogue import Hook, Stage, StageFinished, Status


def patient() -> RetryPolicy:
    """Rides out an outage of the object store of half an hour before it parks an event."""
    return RetryPolicy(attempts_max=14, base_s=0.5, cap_s=300.0)


@dataclass(frozen=True, slots=True)
class ProcessorConfig:
    """How the processor works.

    Attributes:
        queue: where from.
        lanes: batches worked on side by side.
        claim_messages: envelopes claimed at once by a lane, at most; with their size, the bound on its memory.
        batch_records: records stored in one transaction, about.
        linger_s: seconds that a busy lane lets work gather when there was little; 0 for none.
        lease_s: seconds until a dead processor's work is given to another.
        wait_s: seconds to wait for work before asking again; also how soon an idle lane notices `stop`.
        stop_within_s: seconds to finish what was begun before it is given back.
        default_tenant: whose the messages of other programs are.
        policy: how failed records are repeated.
    """

    queue: str = QUEUE
    lanes: int = 2
    claim_messages: int = 64
    batch_records: int = 4000
    linger_s: float = 0.1
    lease_s: float = 30.0
    wait_s: float = 1.0
    stop_within_s: float = 20.0
    default_tenant: Tenant = Tenant("default")  # noqa: RUF009 - a NewType is a plain string
    policy: RetryPolicy = field(default_factory=patient)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the lanes of a processor have in common.

    Attributes:
        config: how they work.
        backend: the queue.
        verifier: checks records.
        persister: stores and settles.
        outage: whether Postgres answers.
        solitude: lets a lane be alone with a suspicious record.
        standing: how the work fares.
        is_paused: whether an operator wants nothing to be claimed from a queue.
        stopping: set when no new work is to be taken.
        clock: the time.
        chance: a number in [0, 1), spreads repeats.
        hook: hears what happens.
    """

    config: ProcessorConfig
    backend: QueueBackend
    verifier: Verifier
    persister: Persister
    outage: Outage
    solitude: Solitude
    standing: Standing
    is_paused: Callable[[str], bool]
    stopping: asyncio.Event
    clock: Clock
    chance: Callable[[], float]
    hook: Hook


class Lane:
    """Works through the queue until it is told to stop."""

    def __init__(self, shared: Shared) -> None:
        self._in = shared
        self._config = shared.config
        self._limit = min(rules.FIRST_CLAIM, shared.config.claim_messages)
        self._hurried = False
        self.moved_s = shared.clock.monotonic()
        """When it last asked for work or tried to store some, on the clock that never goes back."""

    async def run(self) -> None:
        """Work; returns some time after `stopping` is set, with nothing in hand."""
        async with LeaseKeeper(self._in.backend, lease_s=self._config.lease_s) as leases:
            while not self._in.stopping.is_set():
                try:
                    await self._turn(leases)
                except Exception as error:  # noqa: BLE001 - a defect costs this turn, whose leases are back, not the lane
                    self._in.outage.failed(_as_fluxa(error).detail)
                    await self._pause(1)
                if self._hurried:
                    await self._rest(self._config.linger_s)

    async def _turn(self, leases: LeaseKeeper) -> None:
        """Claim once, and finish what was claimed."""
        async with contextlib.AsyncExitStack() as held:
            async with self._in.solitude.together():
                deliveries = await self._claim()
                if not deliveries:
                    return
                held.enter_context(self._in.standing.holding(sum(len(delivery.records) for delivery in deliveries)))
                await held.enter_async_context(self._held(leases, deliveries))
                now = self._in.clock.now()
                found = triage(deliveries, self._config.policy, now=now)
                is_mine = held.enter_context(self._in.solitude.reserved(wanted=found.alone is not None))
                if not is_mine:
                    found = found.put_off(now)
                if found.settle:
                    judged = Batch.judged(found.settle, claimed_at=now, default_tenant=self._config.default_tenant)
                    await self._process(judged)
                for group in rules.batches(found.work, self._config.batch_records):
                    await self._process(self._batch(group, now))
            if found.alone is not None:
                async with self._in.solitude.alone():
                    await self._process(self._batch([found.alone], now))

    def _batch(self, deliveries: list[Delivery], claimed_at: dt.datetime) -> Batch:
        return Batch.of(deliveries, claimed_at=claimed_at, default_tenant=self._config.default_tenant)

    async def _claim(self) -> list[Delivery]:
        """The next deliveries; none if there is no work, or no more is to be taken."""
        failures = 0
        while not self._in.stopping.is_set():
            self.moved_s = self._in.clock.monotonic()
            if self._in.is_paused(self._config.queue):
                await self._rest(self._config.wait_s)
                continue
            try:
                deliveries = await self._in.backend.claim(
                    self._config.queue, limit=self._limit, lease_s=self._config.lease_s, wait_s=self._config.wait_s
                )
            except Exception as error:  # noqa: BLE001 - a lane outlives whatever happens to one claim
                failures += 1
                self._in.outage.failed(_as_fluxa(error).detail)
                await self._pause(failures)
            else:
                self._in.outage.worked()
                self._learn(deliveries)
                return deliveries
        return []

    def _learn(self, deliveries: list[Delivery]) -> None:
        """Set how much to claim next, and how soon, by what this claim brought."""
        records, aim = sum(len(delivery.records) for delivery in deliveries), self._config.batch_records
        self._limit = rules.next_limit(len(deliveries), records, records_aim=aim, limit_max=self._config.claim_messages)
        self._hurried = rules.is_hurried(records, records_aim=aim)

    async def _process(self, batch: Batch) -> None:
        started_s, started_ns = self._in.clock.monotonic(), spans.began_ns()
        with spans.together(self._config.queue, batch) as whole:
            await self._in.verifier.verify(batch)
            verified_s = self._in.clock.monotonic()
            done = await self._persist(batch)
        spans.apart(self._config.queue, batch, whole, started_ns)
        self._in.standing.finished(batch)
        telling.tell(
            self._in.hook,
            self._config.queue,
            batch,
            done,
            policy=self._config.policy,
            process_s=verified_s - started_s,
            persist_s=self._in.clock.monotonic() - verified_s,
        )

    async def _persist(self, batch: Batch) -> Persisted:
        """Commit, however long it takes: an outage costs time, and the leases tell if it was too long."""
        failures = 0
        while True:
            started_s = self.moved_s = self._in.clock.monotonic()
            try:
                done = await self._in.persister.persist(batch)
            except Exception as raised:  # noqa: BLE001 - nothing that happens here may lose the batch
                failures += 1
                error = _as_fluxa(raised)
                self._in.standing.failed(error.code)
                latency_s = self._in.clock.monotonic() - started_s
                self._in.hook(
                    StageFinished(
                        Stage.PERSIST,
                        Status.FAILURE,
                        len(batch.good),
                        latency_s,
                        error_code=error.code,
                        detail=error.detail,
                    )
                )
                if failures > 1:  # the first may be a deadlock, which a repeat ends
                    self._in.outage.failed(error.detail)
                await self._pause(failures)
            else:
                self._in.outage.worked()
                return done

    @contextlib.asynccontextmanager
    async def _held(self, leases: LeaseKeeper, deliveries: list[Delivery]) -> AsyncIterator[None]:
        """Keep leases while the block runs; give back what it leaves unfinished when it is cut short."""
        with leases.holding(deliveries):
            try:
                yield
            except BaseException:
                leases.release(deliveries)
                # What was settled is gone from the queue, so this touches the rest only. If Postgres is
                # out as well, the leases end by themselves.
                with contextlib.suppress(FluxaError):
                    await self._in.backend.extend(deliveries, lease_s=0.0)
                raise

    async def _pause(self, failures: int) -> None:
        """Wait before a repeat, longer each time; `stop` ends the first wait that it meets."""
        pause_s = backoff.pause_s(failures, self._in.chance())
        if self._in.stopping.is_set():
            await asyncio.sleep(pause_s)
        else:
            await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        """Wait so long, or until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._in.stopping.wait()


def _as_fluxa(error: Exception) -> FluxaError:
    """What nobody foresaw is a defect of ours, told as such."""
    if isinstance(error, FluxaError):
        return error
    return FluxaError(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
