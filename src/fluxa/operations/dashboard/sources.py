"""Which metrics the dashboard keeps, and a moment made of two readings of all processes. Pure."""

import enum
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from fluxa.operations.alarms.rule import PROBES
from fluxa.operations.dashboard.moment import Flow, Moment, Process, Remark, Spread, added
from fluxa.operations.monitoring.check import Bounds, Outcome, Seen, Verdict, judged
from fluxa.operations.monitoring.checks import CHECKS, LASTING
from fluxa.operations.monitoring.pages import START, Page, grown
from fluxa.telemetry.catalogue import CallEnding

_SUBJECTS_MAX = 50
"""Of one source in one moment, the largest: what is kept is to stay small, however many queues there are."""
_SAID_MAX = 300
_SERVE = ("ingest", "query", "station")
"""Who answers requests; the others have pages for monitors only, which are not counted."""
_WORK = ("worker", "station")
_SECONDS, _STAGES, _CALLS = "http_request_duration_seconds", "fluxa_stage_events_total", "worker_backend_requests_total"


class Kind(enum.Enum):
    """What is taken of a metric."""

    FLOW = enum.auto()
    """What a counter grew by."""
    SPREAD = enum.auto()
    """What a histogram grew by."""
    SHARED = enum.auto()
    """A gauge that says the same wherever it is read."""
    OWN = enum.auto()
    """A gauge of which every process has its own part."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is kept of one metric.

    Attributes:
        name: what it is kept as.
        kind: what is taken.
        metric: its name on a page.
        subject: the label by which it is kept apart; empty: all in one.
        tellers: services that have it; while one of them cannot be read it is not known. Empty: all.
        each: keep it of every service too, as `name@service`.
        only: labels with the values that count.
        but: labels with the values that do not.
        weights: of a gauge with a label that names a state: what each state is drawn as.
    """

    name: str
    kind: Kind
    metric: str
    subject: str = ""
    tellers: tuple[str, ...] = ()
    each: bool = False
    only: Mapping[str, str] = field(default_factory=dict)
    but: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: tuple[str, Mapping[str, float]] | None = None


_NO_PROBES = {"route": PROBES}
_STATES = {"closed": 0.0, "half_open": 1.0, "open": 2.0}

SOURCES: tuple[Source, ...] = (
    Source("received", Kind.FLOW, _STAGES, tellers=("ingest",), only={"stage": "enqueue", "status": "success"}),
    Source("stored", Kind.FLOW, _STAGES, tellers=("processor",), only={"stage": "persist", "status": "success"}),
    Source("answers", Kind.FLOW, f"{_SECONDS}_count", "status_code", _SERVE, each=True, but=_NO_PROBES),
    Source("seconds", Kind.SPREAD, _SECONDS, "", _SERVE, each=True, but={"route": (*PROBES, *LASTING)}),
    Source("refused", Kind.FLOW, "fluxa_authentication_failures_total", "reason", _SERVE),
    Source("handled", Kind.FLOW, "fluxa_worker_records_total", "outcome", _WORK),
    Source("handler_seconds", Kind.SPREAD, "fluxa_handler_duration_seconds", "queue", _WORK),
    Source("calls", Kind.FLOW, _CALLS, "target"),
    Source("calls_failed", Kind.FLOW, _CALLS, "target", but={"status": (CallEnding.DELIVERED.value,)}),
    Source("call_seconds", Kind.SPREAD, "worker_backend_request_duration_seconds", "target"),
    Source("slow", Kind.FLOW, "fluxa_slow_statements_total", "statement"),
    Source("asked", Kind.FLOW, "fluxa_cache_requests_total", "cache"),
    Source("at_hand", Kind.FLOW, "fluxa_cache_requests_total", "cache", only={"result": "hit"}),
    Source("active", Kind.OWN, "http_requests_active", but=_NO_PROBES),
    Source("depth", Kind.SHARED, "fluxa_queue_depth", "queue"),
    Source("oldest", Kind.SHARED, "fluxa_queue_oldest_age_seconds", "queue"),
    Source("dead", Kind.SHARED, "fluxa_queue_dead", "queue"),
    Source("breakers", Kind.SHARED, "fluxa_queue_breaker", "queue", weights=("state", _STATES)),
    Source("alarms", Kind.SHARED, "fluxa_alarm_firing", "severity"),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """All processes, asked at once.

    Attributes:
        at_s: when, on a clock that never goes back.
        pages: of those that answered, by URL.
        missing: those that did not, with the reason.
        not_ready: those that say that they cannot work, with the reason.
        services: what each is, where that is known.
    """

    at_s: float
    pages: Mapping[str, Page]
    missing: Mapping[str, str]
    not_ready: Mapping[str, str]
    services: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process says.

    Attributes:
        service: what it is.
        now: its page; None: it could not be read.
        since: the same with what grew; None: nobody knows since when.
    """

    service: str
    now: Page | None
    since: Page | None


class Memory:
    """The last page of each process, and when it was read: what grew is found by it.

    Args:
        bounds: from when on routine checks are not well, by name, where not as the code has it.
    """

    def __init__(self, bounds: Mapping[str, Bounds] | None = None) -> None:
        self._bounds = dict(bounds or {})
        self._pages: dict[str, tuple[float, Page]] = {}
        self._last_s: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read yet."""
        return self._last_s is None

    def moment(self, reading: Reading) -> Moment:
        """What went on since the reading before; of the first one only what stands at that moment is known."""
        parts = {url: self._part(url, reading) for url in (*reading.pages, *reading.missing)}
        over_s = 0.0 if self._last_s is None else reading.at_s - self._last_s
        self._last_s = reading.at_s
        # One that is not named any more is forgotten; one that is silent for a while is not.
        self._pages = {url: known for url, known in self._pages.items() if url in parts}
        self._pages |= {url: (reading.at_s, page) for url, page in reading.pages.items()}
        seen = Seen(
            [one.since or one.now for one in parts.values() if one.now is not None], reading.missing, reading.not_ready
        )
        return _moment(parts, reading, over_s, judged(CHECKS, seen, self._bounds))

    def _part(self, url: str, reading: Reading) -> _Part:
        service, page = reading.services.get(url, ""), reading.pages.get(url)
        if page is None:
            return _Part(service, None, None)
        known = self._pages.get(url)
        if known is not None:
            before_s, before = known
            passed_s = max(reading.at_s - before_s, 1e-3)
            anew = _began(before) != _began(page)
            over_s = passed_s if not anew or page.over_s is None else min(passed_s, page.over_s)
            return _Part(service, page, grown(before, page, over_s=over_s))
        young = self._last_s is not None and page.over_s is not None and page.over_s <= reading.at_s - self._last_s
        return _Part(service, page, page if young else None)


def _began(page: Page) -> float | None:
    return next(iter(page.samples.get(START, {}).values()), None)


def _moment(parts: Mapping[str, _Part], reading: Reading, over_s: float, checks: Sequence[Outcome]) -> Moment:
    flows: dict[str, Flow] = {}
    spreads: dict[str, dict[str, Spread]] = {}
    levels: dict[str, dict[str, float]] = {}
    for source in SOURCES:
        match source.kind:
            case Kind.FLOW | Kind.SPREAD:
                for name, pages in _known(source, list(parts.values())):
                    if source.kind is Kind.FLOW:
                        flows[name] = Flow(over_s, _flow(source, pages))
                    else:
                        spreads[name] = _spread(source, pages)
            case Kind.SHARED:
                told = [one.now for one in parts.values() if one.now is not None]
                if values := _shared(source, told):
                    levels[source.name] = values
            case Kind.OWN:
                levels[source.name] = _own(source, list(parts.values()))
            case _:
                assert_never(source.kind)
    return Moment(
        over_s=over_s,
        up=len(reading.pages),
        expected=len(parts),
        flows=flows,
        spreads=spreads,
        levels=levels,
        processes=[Process(url, one.service, reading.missing.get(url, "")) for url, one in parts.items()],
        remarks=[_remark(one) for one in checks if one.verdict is not Verdict.OK],
    )


def _known(source: Source, parts: Sequence[_Part]) -> Iterator[tuple[str, list[Page]]]:
    """What the source is known of, with the pages that tell: the whole, if nobody is missing, and each service."""
    tellers = [one for one in parts if not source.tellers or not one.service or one.service in source.tellers]
    if tellers and all(one.since is not None for one in tellers):
        yield source.name, [one.since for one in tellers if one.since is not None]
    if not source.each:
        return
    for service in sorted({one.service for one in tellers} - {""}):
        of = [one.since for one in tellers if one.service == service]
        pages = [one for one in of if one is not None]
        if len(pages) == len(of):
            yield f"{source.name}@{service}", pages


def _samples(source: Source, page: Page, suffix: str = "") -> Iterator[tuple[dict[str, str], float]]:
    for labels, value in page.of(source.metric + suffix, **source.only):
        if not any(labels.get(label) in values for label, values in source.but.items()):
            yield labels, value


def _flow(source: Source, pages: Sequence[Page]) -> dict[str, float]:
    rates: dict[str, float] = defaultdict(float)
    for page in pages:
        for labels, value in _samples(source, page):
            if value and page.over_s:
                rates[labels.get(source.subject, "")] += value / page.over_s
    return _largest(rates)


def _spread(source: Source, pages: Sequence[Page]) -> dict[str, Spread]:
    found: dict[str, Spread] = {}
    for page in pages:
        for labels, value in _samples(source, page, "_bucket"):
            subject = labels.get(source.subject, "")
            found[subject] = added(found.get(subject, {}), {labels["le"]: value})
    counts = {subject: max(spread.values()) for subject, spread in found.items()}
    return {subject: found[subject] for subject, count in _largest(counts).items() if count}


def _shared(source: Source, pages: Sequence[Page]) -> dict[str, float]:
    told: dict[tuple[tuple[str, str], ...], float] = {}
    for page in pages:
        for labels, value in _samples(source, page):
            key = tuple(sorted(labels.items()))
            told[key] = max(value, told.get(key, value))
    found: dict[str, float] = defaultdict(float)
    for key, value in told.items():
        labels = dict(key)
        weight = 1.0 if source.weights is None else source.weights[1].get(labels.get(source.weights[0], ""), 0.0)
        found[labels.get(source.subject, "")] += value * weight
    return _largest(found)


def _own(source: Source, parts: Sequence[_Part]) -> dict[str, float]:
    """By service, of those of which all processes were read."""
    found: dict[str, float] = {}
    for service in {one.service for one in parts if one.service}:
        pages = [one.now for one in parts if one.service == service]
        if all(page is not None for page in pages):
            found[service] = sum(value for page in pages if page is not None for _, value in _samples(source, page))
    return found


def _largest(values: Mapping[str, float]) -> dict[str, float]:
    if len(values) <= _SUBJECTS_MAX:
        return dict(values)
    return dict(sorted(values.items(), key=lambda one: -one[1])[:_SUBJECTS_MAX])


def _remark(one: Outcome) -> Remark:
    said = one.said or (f"{one.value:.4g} {one.unit} {one.subject}".strip() if one.value is not None else "")
    return Remark(one.check, str(one.verdict), said[:_SAID_MAX], one.action)
