"""Deletes dead letters for good, a page in a transaction. Which ones is the filter's; whether is the caller's."""

from collections.abc import Callable
from dataclasses import replace

from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.dead_letters.pages import read_pages


async def purge(
    backend: QueueBackend,
    queue: str,
    which: DeadLetterFilter,
    *,
    on_progress: Callable[[int], None] = lambda _deleted: None,
) -> int:
    """Delete the letters that are there now; what is parked meanwhile stays. Returns how many were deleted.

    Stopped half-way, it has deleted the oldest ones; run again, it goes on with the rest.

    Args:
        backend: the engine.
        queue: whose dead letters.
        which: which of them.
        on_progress: called with the count so far after each page.
    """
    if which.up_to is None:
        which = replace(which, up_to=(await backend.summarize_dead(queue, which)).last_id or "0")
    deleted = 0
    async for letters in read_pages(backend, queue, which):
        deleted += await backend.purge(queue, [letter.message_id for letter in letters])
        on_progress(deleted)
    return deleted
