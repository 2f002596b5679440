"""What a metrics page says, read as Prometheus reads it: what grew between two readings, and quantiles. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]

START = "process_start_time_seconds"
"""When the process began, in seconds since 1970; each page of Fluxa's has it where the system tells."""
_GROWING = ("_total", "_count", "_sum", "_bucket")
_LE = "le"


@dataclass(frozen=True, slots=True)
class Page:
    """One process's metrics.

    Attributes:
        target: where they were read.
        families: names of what the process would tell, whether it has anything to tell of it or not.
        samples: values by name and labels.
        over_s: seconds in which what grows has grown; None if that is not known.
    """

    target: str
    families: frozenset[str]
    samples: Mapping[str, Mapping[Labels, float]]
    over_s: float | None = None

    def of(self, name: str, **wanted: str | Sequence[str]) -> Iterator[tuple[dict[str, str], float]]:
        """The values of this name that have these labels; a label with several values may have any of them."""
        for labels, value in self.samples.get(name, {}).items():
            found = dict(labels)
            if all(found.get(label) in ([want] if isinstance(want, str) else want) for label, want in wanted.items()):
                yield found, value

    def total(self, name: str, **wanted: str | Sequence[str]) -> float:
        """Their sum."""
        return sum(value for _, value in self.of(name, **wanted))


def read(target: str, text: str, *, now_s: float) -> Page:
    """A page as it stands: what grows has grown since the process began.

    Args:
        target: where it was read.
        text: in Prometheus' text format.
        now_s: seconds since 1970.

    Raises:
        ValueError: for what is no metrics page.
    """
    families: set[str] = set()
    samples: dict[str, dict[Labels, float]] = {}
    try:
        for family in text_string_to_metric_families(text):
            families.add(f"{family.name}_total" if family.type == "counter" else family.name)
            for sample in family.samples:
                samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    except IndexError as error:  # the library's, for some labels that do not end
        raise ValueError("its labels cannot be read") from error
    if not families:
        raise ValueError("it holds no metrics")
    began_s = next(iter(samples.get(START, {}).values()), None)
    return Page(target, frozenset(families), samples, None if began_s is None else max(now_s - began_s, 1.0))


def grown(before: Page, after: Page, *, over_s: float) -> Page:
    """The later page with what grew since the earlier one; a process that began anew meanwhile counts from nothing."""
    # A counter that has overtaken its former self does not show it; the process's own time does.
    known = before.samples if before.samples.get(START) == after.samples.get(START) else {}
    samples = {
        name: (
            {labels: _grown(known.get(name, {}).get(labels, 0.0), value) for labels, value in values.items()}
            if name.endswith(_GROWING)
            else values
        )
        for name, values in after.samples.items()
    }
    return Page(after.target, after.families, samples, over_s)


def _grown(before: float, after: float) -> float:
    return after - before if after >= before else after


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """A quantile of a histogram, found as Prometheus' `histogram_quantile` finds it; None where nothing was observed.

    Args:
        q: from 0 to 1.
        buckets: how many were observed up to each bound, the infinite one included.
    """
    bounds = sorted(buckets)
    if not bounds or not math.isinf(bounds[-1]) or buckets[bounds[-1]] <= 0:
        return None
    rank = q * buckets[bounds[-1]]
    place = next(index for index, bound in enumerate(bounds) if buckets[bound] >= rank)
    if math.isinf(bounds[place]):
        return bounds[place - 1] if place else None  # it is beyond the last bound; how far is not known
    low, below = (bounds[place - 1], buckets[bounds[place - 1]]) if place else (0.0, 0.0)
    inside = buckets[bounds[place]] - below
    return low + (bounds[place] - low) * ((rank - below) / inside if inside else 1.0)


def buckets_by(pages: Iterable[Page], histogram: str, label: str) -> dict[str, dict[float, float]]:
    """The buckets of a histogram by one of its labels, added up over the others and over all pages."""
    found: dict[str, dict[float, float]] = {}
    for page in pages:
        for labels, value in page.of(f"{histogram}_bucket"):
            of = found.setdefault(labels.get(label, ""), {})
            bound = float(labels[_LE])
            of[bound] = of.get(bound, 0.0) + value
    return found
