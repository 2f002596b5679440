"""Which panels the dashboard has, and what each draws of a moment. Not: over which time (board). Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fluxa.operations.dashboard.moment import Moment, Spread, added
from fluxa.operations.monitoring.pages import quantile

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_MINUTE_S = 60.0

Values = Mapping[str, float | None]
Draw = Callable[[Moment], Values | None]
"""The value of each line; None: it is not known. A line that is not among them has none at that moment."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        name: what programs call it.
        title: what people read.
        unit: of its values: `/s`, `/min`, `s`, `%`, or empty for a count.
        about: how it is to be read, in a sentence.
        draw: finds its values.
        rest: the value of a line that a moment does not name although it is known; None: it is not known either.
        bad_above: from beyond which value somebody should look; None: no value is bad by itself.
        overview: whether its last value stands at the top.
        sparse: whether a line may have no value because nothing happened.
    """

    name: str
    title: str
    unit: str
    about: str
    draw: Draw
    rest: float | None = None
    bad_above: float | None = None
    overview: bool = False
    sparse: bool = False


def _processes(moment: Moment) -> Values:
    return {"up": float(moment.up), "expected": float(moment.expected)}


def _checks(moment: Moment) -> Values:
    counts = dict.fromkeys(("failed", "warning", "UNKNOWN"), 0.0)
    for one in moment.remarks:
        counts[one.verdict] = counts.get(one.verdict, 0.0) + 1.0
    return counts


def _rates(source: str, times: float = 1.0) -> Draw:
    def draw(moment: Moment) -> Values | None:
        flow = moment.flows.get(source)
        return None if flow is None else {subject: rate * times for subject, rate in flow.per_s.items()}

    return draw


def _events(moment: Moment) -> Values | None:
    found = {}
    for source in ("received", "stored"):
        flow = moment.flows.get(source)
        found[source] = None if flow is None else sum(flow.per_s.values())
    return found


def _requests(moment: Moment) -> Values:
    return {
        source.partition("@")[2]: sum(flow.per_s.values())
        for source, flow in moment.flows.items()
        if source.startswith("answers@")
    }


def _not_served(moment: Moment) -> Values | None:
    flow = moment.flows.get("answers")
    if flow is None:
        return None
    whole = sum(flow.per_s.values())

    def share(*starts: str) -> float:
        part = sum(rate for status, rate in flow.per_s.items() if status.startswith(starts))
        return 100.0 * part / whole if whole else 0.0

    return {"5xx": share("5"), "refused (401, 403, 429)": share("401", "403", "429")}


def _share(part: str, whole: str) -> Draw:
    def draw(moment: Moment) -> Values | None:
        some, of = moment.flows.get(part), moment.flows.get(whole)
        if some is None or of is None:
            return None
        return {subject: 100.0 * some.per_s.get(subject, 0.0) / rate for subject, rate in of.per_s.items() if rate}

    return draw


def _quantiles(source: str) -> Draw:
    def draw(moment: Moment) -> Values | None:
        spreads = moment.spreads.get(source)
        if spreads is None:
            return None
        whole: Spread = {}
        for spread in spreads.values():
            whole = added(whole, spread)
        return {name: _quantile(q, whole) for name, q in _QUANTILES.items()}

    return draw


def _p95(source: str) -> Draw:
    def draw(moment: Moment) -> Values | None:
        spreads = moment.spreads.get(source)
        return None if spreads is None else {name: _quantile(0.95, spread) for name, spread in spreads.items()}

    return draw


def _p95_by_service(moment: Moment) -> Values:
    return {
        source.partition("@")[2]: _quantile(0.95, spread)
        for source, spreads in moment.spreads.items()
        if source.startswith("seconds@")
        for spread in spreads.values()
    }


def _quantile(q: float, spread: Spread) -> float | None:
    return quantile(q, {float(bound): count for bound, count in spread.items()})


def _level(source: str) -> Draw:
    return lambda moment: moment.levels.get(source)


PANELS: tuple[Panel, ...] = (
    Panel(
        "processes", "Processes", "", "Those that could be read, and those that should be.", _processes, overview=True
    ),
    Panel(
        "alarms", "Alarms firing", "", "By severity: fluxa alarm list.", _level("alarms"), bad_above=0, overview=True
    ),
    Panel("checks", "Checks not ok", "", "Routine checks: fluxa metrics check.", _checks, bad_above=0, overview=True),
    Panel("events", "Events", "/s", "Put into the queue, and stored.", _events, overview=True),
    Panel("requests", "Requests", "/s", "By service; those of monitors are not counted.", _requests, overview=True),
    Panel(
        "latency",
        "Request duration",
        "s",
        "Of all requests but streams.",
        _quantiles("seconds"),
        overview=True,
        sparse=True,
    ),
    Panel("latency_by_service", "Request duration, p95", "s", "By service.", _p95_by_service, sparse=True),
    Panel(
        "not_served",
        "Requests not served",
        "%",
        "Share answered with an error of ours, and share refused.",
        _not_served,
        rest=0.0,
        bad_above=1,
        overview=True,
    ),
    Panel(
        "active", "Active requests", "", "Being answered at that moment, by service.", _level("active"), overview=True
    ),
    Panel("refusals", "Refused callers", "/min", "401 and 403, by reason.", _rates("refused", _MINUTE_S), rest=0.0),
    Panel("depth", "Messages in queues", "", "Delayed and leased ones included.", _level("depth"), overview=True),
    Panel("oldest", "Oldest message", "s", "Its age, by queue.", _level("oldest")),
    Panel("dead", "Dead letters", "", "By queue: fluxa dlq list.", _level("dead"), bad_above=0, overview=True),
    Panel("handled", "Handler outcomes", "/s", "Records that handlers finished.", _rates("handled"), rest=0.0),
    Panel(
        "handler_duration", "Handler duration, p95", "s", "Of one call, by queue.", _p95("handler_seconds"), sparse=True
    ),
    Panel("calls", "Calls of outside services", "/s", "By service called.", _rates("calls"), rest=0.0),
    Panel(
        "call_duration", "Duration of those calls, p95", "s", "By service called.", _p95("call_seconds"), sparse=True
    ),
    Panel(
        "calls_failed",
        "Share of those calls that failed",
        "%",
        "By service called.",
        _share("calls_failed", "calls"),
        bad_above=10,
        sparse=True,
    ),
    Panel(
        "caches",
        "Cache hits",
        "%",
        "Share that was at hand when asked for, by cache.",
        _share("at_hand", "asked"),
        sparse=True,
    ),
    Panel("breakers", "Breakers", "", "0 closed, 1 probing, 2 open; by queue.", _level("breakers"), bad_above=0),
    Panel("slow", "Slow SQL", "/min", "Statements slower than database_slow_ms.", _rates("slow", _MINUTE_S), rest=0.0),
)
"""All panels, in the order in which they are shown."""
