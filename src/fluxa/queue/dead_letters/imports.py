"""Reads exported dead letters back in: checks each, refuses what is there already, keeps the rest unchanged."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, field

from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, ParkedText, QueueBackend
from fluxa.queue.dead_letters.export import digest, read_line
from fluxa.queue.dead_letters.pages import PAGE, read_page
from fluxa.queue.registry import Registry

_SQL = sql.load("fluxa.queue.dead_letters", "imports.sql")

_EXAMPLES_MAX = 20
_LOOSE_MAX = 200_000


@dataclass(slots=True)
class ImportReport:
    """What became of the lines.

    Attributes:
        lines: how many were read; empty ones are not counted.
        imported: how many are dead letters now, by queue.
        duplicates: how many were there already.
        refused: how many were no sound letters.
        examples: the first of those, as line number and reason.
    """

    lines: int = 0
    imported: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    refused: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        """Count a line that is no sound letter."""
        self.refused += 1
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append((line, reason))


class _Seen:
    """The messages of one dead-letter queue by 64 bits of their digests: 8 bytes a letter for those there before.

    Two of a million letters agree in those bits by chance once in 37 million imports.
    """

    def __init__(self) -> None:
        self._before = array("Q")
        self._since: set[int] = set()
        self.last_id = "0"

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self._before, number)
        return number in self._since or (place < len(self._before) and self._before[place] == number)

    def update(self, numbers: Iterable[int]) -> None:
        """Note messages."""
        self._since.update(numbers)
        if len(self._since) >= _LOOSE_MAX:
            self._before = array("Q", sorted([*self._before, *self._since]))
            self._since.clear()


def _short(raw: str, facts: str | None) -> int:
    return int(digest(raw, facts)[:16], 16)


class Importer:
    """Reads exported letters back in.

    Each page is one transaction; stopped half-way and run again, it leaves out what is there already.
    Needs two connections at once.

    Args of the constructor: `registry` knows the queues that letters may name.
    """

    def __init__(self, database: Database, backend: QueueBackend, registry: Registry) -> None:
        self._database = database
        self._backend = backend
        self._registry = registry
        self._seen: dict[str, _Seen] = {}

    async def run(
        self,
        lines: AsyncIterable[bytes],
        *,
        into: str | None = None,
        on_progress: Callable[[ImportReport], None] = lambda _report: None,
    ) -> ImportReport:
        """Read lines to their end.

        Args:
            lines: lines of an export.
            into: the queue whose dead letters they become; None: the one that each names.
            on_progress: called after each page.

        Raises:
            FluxaError: an outage; what was read by then is in, and a second run does the rest.
        """
        report = ImportReport()
        waiting: dict[str, list[tuple[int, ParkedText]]] = {}
        number = 0
        async for line in lines:
            number += 1
            if not line.strip():
                continue
            report.lines += 1
            try:
                named, message = read_line(line)
                queue = self._registry.get(into or named).name
            except FluxaError as error:
                report.refuse(number, error.detail)
                continue
            page = waiting.setdefault(queue, [])
            page.append((number, message))
            if len(page) == PAGE:
                await self._take(queue, waiting.pop(queue), report)
                on_progress(report)
        for queue, page in waiting.items():
            await self._take(queue, page, report)
        on_progress(report)
        return report

    async def _take(self, queue: str, page: list[tuple[int, ParkedText]], report: ImportReport) -> None:
        if queue not in self._seen:
            await self._backend.create(queue)
            self._seen[queue] = _Seen()
        seen = self._seen[queue]
        try:
            imported = await self._park(queue, [message for _, message in page], seen)
        except FluxaError as error:
            if error.retry is RetryClass.TRANSIENT or error.code != ErrorCode.DB_REJECTED:
                raise
            # One of them is what Postgres does not hold: alone, each shows whether it is the one.
            if len(page) == 1:
                report.refuse(page[0][0], error.detail)
                return
            for one in page:
                await self._take(queue, [one], report)
            return
        report.imported[queue] += imported
        report.duplicates += len(page) - imported

    async def _park(self, queue: str, messages: list[ParkedText], seen: _Seen) -> int:
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["take_import_lock"], queue)
            await self._catch_up(queue, seen)
            fresh: dict[int, ParkedText] = {}
            for one in messages:
                if (number := _short(one.raw, one.facts)) not in seen:
                    fresh.setdefault(number, one)
            ids = await self._backend.park(queue, list(fresh.values()), tx=tx) if fresh else []
        # Only now are they there: a page that failed is tried again letter by letter.
        seen.update(fresh)
        seen.last_id = ids[-1] if ids else seen.last_id
        return len(ids)

    async def _catch_up(self, queue: str, seen: _Seen) -> None:
        """Learn what is there that we have not seen: all of it first, then what others park meanwhile."""
        while True:
            page = await read_page(self._backend, queue, DeadLetterFilter(), after=seen.last_id, limit=PAGE)
            seen.update(_short(letter.raw, letter.facts) for letter in page.letters)
            seen.last_id = page.cursor
            if page.last:
                return
