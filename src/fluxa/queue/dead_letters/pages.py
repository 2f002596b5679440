"""Reads dead letters page by page, so that a million of them need no more memory than one page."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.record import DeadLetter

PAGE = 500
"""Dead letters read at once, and moved or deleted in one transaction, at most."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters.

    Attributes:
        letters: oldest first.
        cursor: where the next page begins: after this id.
        last: whether there is no next page.
    """

    letters: list[DeadLetter]
    cursor: str
    last: bool


async def read_page(backend: QueueBackend, queue: str, which: DeadLetterFilter, *, after: str, limit: int) -> Page:
    """The letters that are meant and lie after an id, at most so many."""
    if not which.message_ids:
        letters = await backend.dead_letters(queue, which, limit=limit, after=after)
        return Page(letters, letters[-1].message_id if letters else after, last=len(letters) < limit)
    # A hundred thousand ids are not asked for with each page: those of this page are.
    numbers = sorted({int(one) for one in which.message_ids if one.isascii() and one.isdigit()})
    wanted = [str(number) for number in numbers if number > int(after)][: limit + 1]
    if not wanted:
        return Page([], after, last=True)
    some = replace(which, message_ids=tuple(wanted[:limit]))
    letters = await backend.dead_letters(queue, some, limit=limit, after=after)
    return Page(letters, wanted[:limit][-1], last=len(wanted) <= limit)


async def read_pages(
    backend: QueueBackend, queue: str, which: DeadLetterFilter, *, limit: int = PAGE
) -> AsyncIterator[list[DeadLetter]]:
    """All letters that are meant, oldest first; one that is moved or deleted meanwhile is left out."""
    after = "0"
    while True:
        page = await read_page(backend, queue, which, after=after, limit=limit)
        if page.letters:
            yield page.letters
        if page.last:
            return
        after = page.cursor
