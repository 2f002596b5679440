"""What a measurement is, and the questions to the database that end one."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one contestant.

    Attributes:
        count: events stored, requests answered, or samples taken.
        elapsed_s: seconds from the first byte to the last effect.
        extra: further figures by name, in the unit their name ends with.
    """

    count: int
    elapsed_s: float
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.count / self.elapsed_s


def together(parts: Sequence[Measured]) -> Measured:
    """Several measurements of one contestant as one; of further figures, the means."""
    extra = {name: sum(part.extra[name] for part in parts) / len(parts) for name in parts[0].extra}
    return Measured(sum(part.count for part in parts), sum(part.elapsed_s for part in parts), extra)


async def until_stored(url: str, count: int, *, deadline_s: float = 180.0, poll_s: float = 0.04) -> float:
    """Wait until `fluxa.events` holds `count` rows; the monotonic time at which it was seen.

    It asks rarely while many are missing and often near the end, so that the question does not slow
    down what is measured.

    Raises:
        TimeoutError: if they do not arrive in time.
    """
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                stored = await connection.fetchval("select count(*) from fluxa.events")
                seen = time.monotonic()
                if stored >= count:
                    return seen
                await asyncio.sleep(max(poll_s, min(1.0, 0.1 * (count - stored) / 10_000)))
    finally:
        await connection.close()


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
