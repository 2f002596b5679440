"""How often a cache had the answer. Not: what it keeps, nor who shows the counts (metrics)."""

from dataclasses import dataclass


@dataclass(slots=True)
class CacheCount:
    """Added to on the way of every request, and read when metrics are: no signal would be as cheap.

    Attributes:
        hits: how often the answer was at hand.
        misses: how often it had to be fetched, computed or waited for.
    """

    hits: int = 0
    misses: int = 0
