"""Names of a queue's tables, and the statements with those names in them. The only place that builds SQL text."""

import functools
import re
from collections.abc import Mapping

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.sql import load

DEAD_SUFFIX = "_dlq"

# PGMQ allows 47 characters, and the dead letters' name is the longer one.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,42}\Z")
_STATEMENTS: Mapping[str, str] = load("fluxa.queue.backends.pgmq", "pgmq.sql", "facts.sql", "keyed.sql")

# An ordered queue keeps a retried message in its row. What was settled of its reads is written beside it, since the
# number of reads itself only grows: it fences.
_LEASED = "read_ct > 0"
_LEASED_KEYED = "read_ct > coalesce((headers ->> 'x-fluxa-settled')::int, 0)"


def checked(queue: str) -> str:
    """The name, if it can name a queue.

    Raises:
        FluxaError: `Configuration`.
    """
    if not _NAME.match(queue):
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"{queue!r} cannot name a queue: use 1 to 43 of a-z, 0-9 and _, beginning with a letter",
        )
    return queue


def table(queue: str) -> str:
    """The quoted table of a queue."""
    return f'pgmq."q_{checked(queue)}"'


def dead_table(queue: str) -> str:
    """The quoted table of a queue's dead letters."""
    return f'pgmq."q_{checked(queue)}{DEAD_SUFFIX}"'


@functools.cache
def statement(name: str, queue: str, *, keyed: bool = False) -> str:
    """A statement of this package with the tables of a queue in it; `keyed` says that the queue has a rule for keys."""
    return filled(_STATEMENTS[name], queue, keyed=keyed)


def filled(text: str, queue: str, *, keyed: bool = False) -> str:
    """A template with the tables of a queue in its places; a text without places stays as it is."""
    text = text.replace("{queue}", table(queue)).replace("{dead}", dead_table(queue))
    return text.replace("{name}", f"q_{checked(queue)}").replace("{leased}", _LEASED_KEYED if keyed else _LEASED)
