"""All queues in one place, with how each is worked on (QUEUE-2). Not: what is done with their records (handlers)."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.queue.backend import KeyRule
from fluxa.queue.policy import RetryPolicy
from fluxa.resilience.breaker import BreakerPolicy
from fluxa.resilience.budget import BudgetPolicy


@dataclass(frozen=True, slots=True)
class Watermarks:
    """What a queue may hold before somebody should look (QUEUE-11); None: any amount.

    Attributes:
        depth: messages waiting.
        oldest_age_s: seconds that the oldest message has waited.
        dead: dead letters; 0 means that the first one counts.
    """

    depth: int | None = 10_000
    oldest_age_s: float | None = 900.0
    dead: int | None = 0


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue and how it is worked on.

    Attributes:
        name: 1 to 43 of a-z, 0-9 and _, beginning with a letter.
        description: what it carries.
        priority: 1 is served first when a worker cannot serve all; who waits rises.
        batch: records given to a batch handler at once, at most; a single handler gets one at a time.
        concurrency: handler calls that run at once in one process.
        lease_s: seconds until a dead worker's records are given to another; renewed while a handler runs.
        timeout_s: seconds a handler may take for one call; then it is cancelled: `HandlerTimeout`.
        envelope_records: records that a producer packs into one message at most; 1 for slow work.
        retry: how failed work is repeated, and the class of error codes in this queue.
        breaker: when the queue rests because all its work fails.
        budget: which part of its work in one process may be retries.
        keys: how records of one key are kept apart; None: they are not.
        watermarks: when somebody should look.
        external: whether its records are delivered over HTTP to an endpoint that settings name (QUEUE-13).
    """

    name: str
    description: str = ""
    priority: int = 5
    batch: int = 10
    concurrency: int = 4
    lease_s: float = 30.0
    timeout_s: float = 60.0
    envelope_records: int = 1
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    keys: KeyRule | None = None
    watermarks: Watermarks = field(default_factory=Watermarks)
    external: bool = False


class Registry:
    """The queues that a process knows, by name.

    Raises:
        FluxaError: `Configuration`, for two queues of one name.
    """

    def __init__(self, specs: Iterable[QueueSpec] = ()) -> None:
        self._specs: dict[str, QueueSpec] = {}
        for spec in specs:
            self.add(spec)

    def add(self, spec: QueueSpec) -> None:
        """Make a queue known.

        Raises:
            FluxaError: `Configuration`, if its name is taken.
        """
        if spec.name in self._specs:
            raise FluxaError(ErrorCode.CONFIGURATION, f"There are two queues named {spec.name}.")
        self._specs[spec.name] = spec

    def replace(self, spec: QueueSpec) -> None:
        """Put a queue in the place of the one of its name."""
        self.get(spec.name)
        self._specs[spec.name] = spec

    def get(self, name: str) -> QueueSpec:
        """The queue of a name.

        Raises:
            FluxaError: `NotFound`, with the nearest name there is.
        """
        try:
            return self._specs[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._specs, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(self._specs)}."
            raise FluxaError(ErrorCode.NOT_FOUND, f"There is no queue {name}. {hint}") from None

    def __iter__(self) -> Iterator[QueueSpec]:
        """All queues, most urgent first."""
        return iter(sorted(self._specs.values(), key=lambda spec: (spec.priority, spec.name)))

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def key_rules(self) -> Mapping[str, KeyRule]:
        """How keys are kept apart, for the queues that do: what an engine is made with."""
        return {spec.name: spec.keys for spec in self._specs.values() if spec.keys is not None}


_PATIENT = RetryPolicy(attempts_max=14, base_s=0.5, cap_s=300.0)
_PROVIDER = RetryPolicy(attempts_max=10, base_s=2.0, cap_s=600.0)
_TOLD = RetryPolicy(
    attempts_max=200, base_s=1.0, cap_s=60.0, overrides={ErrorCode.OUTCOME_UNKNOWN: RetryClass.TRANSIENT}
)
"""For hours, and soon at hand again: an outage is when people must be told. Where no answer came it is sent again: what
is told twice does less harm than what is not told."""
_MANY = BreakerPolicy(failures=100, rest_s=5.0, rest_max_s=60.0)
"""One target that is down is no reason to let the others wait: each has a breaker of its own."""
_POLITE = BreakerPolicy(failures=3, rest_s=10.0, rest_max_s=600.0)


def built_in() -> Registry:
    """The queues that Fluxa itself uses: the pipeline's, the gateway's eight, the contacts', and the alarms'."""
    return Registry(
        (
            QueueSpec(
                "events",
                "Events on their way to the store",
                priority=1,
                batch=4000,
                concurrency=2,
                envelope_records=500,
                retry=_PATIENT,
                watermarks=Watermarks(depth=20_000, oldest_age_s=120.0),
            ),
            QueueSpec("pulse", "Interactions of users", priority=1, batch=100, envelope_records=100),
            QueueSpec("changelog_process", "Deployments to be told about", priority=2, batch=5, concurrency=2),
            QueueSpec("changelog_notify", "Changelog entries to announce", priority=3, batch=5, concurrency=2),
            QueueSpec(
                "discord_jobs", "Job postings for Discord", priority=4, concurrency=1, retry=_PROVIDER, breaker=_POLITE
            ),
            QueueSpec(
                "discord_submissions",
                "Submissions for Discord",
                priority=5,
                concurrency=1,
                retry=_PROVIDER,
                breaker=_POLITE,
            ),
            QueueSpec("revalidation", "Cache tags to invalidate", priority=6, retry=_PROVIDER),
            QueueSpec("embedding_generation", "Content to embed", priority=7, batch=32, concurrency=2, timeout_s=120.0),
            QueueSpec(
                "package_generation",
                "Content to package, by an endpoint elsewhere",
                priority=8,
                batch=5,
                concurrency=2,
                retry=_PROVIDER,
                breaker=_POLITE,
                external=True,
            ),
            QueueSpec(
                "resend_contacts",
                "Contacts whose segments change",
                priority=6,
                concurrency=2,
                retry=_PROVIDER,
                breaker=_POLITE,
                keys=KeyRule(limit=1, ordered=True),
            ),
            QueueSpec(
                "alarm_notify",
                "Alarms on their way to people",
                priority=1,
                concurrency=8,
                retry=_TOLD,
                keys=KeyRule(limit=1, ordered=True),  # a key a target: nobody hears of an end before its beginning
                breaker=_MANY,
            ),
        )
    )
