"""How our messages look to SQS: names, text, groups, batches, references to large ones. Pure."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backend import KeyRule

BATCH_ENTRIES = 10
"""What SQS takes in one request at most."""
BATCH_BYTES = 1024 * 1024
"""What the bodies of one request may have together (since August 2025; before, and elsewhere, 256 KiB)."""
DELAY_MAX_S = 900
"""The longest delay that SQS keeps by itself."""
VISIBILITY_MAX_S = 43_200
"""The longest lease of SQS."""
WAIT_MAX_S = 20
"""The longest poll of SQS."""
SPILLED = "object"

# SQS takes 80 characters; our own suffixes and `.fifo` come after the name.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
# JSON text holds no other characters that SQS refuses: control characters are always escaped.
_REFUSED = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A message that stands for a larger one in the object store.

    Attributes:
        fluxa: the envelope's version.
        packing: `object`: any reader that does not know it says so.
        digest: SHA-256 of the message.
        size: bytes of the message.
    """

    fluxa: int
    digest: str
    size: int
    packing: str = SPILLED

    @property
    def key(self) -> str:
        """Where the message is."""
        return f"queues/sha256/{self.digest[:2]}/{self.digest}"


_decode_reference = msgspec.json.Decoder(Reference)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent.

    Attributes:
        text: its body.
        delay_s: whole seconds before it can be claimed; 0 in a FIFO queue.
        group: the FIFO group; empty in a standard queue.
        dedup: names the sending, so that FIFO queues recognise a repeat within five minutes.
    """

    text: str
    delay_s: int = 0
    group: str = ""
    dedup: str = ""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.text.encode())


def full_name(prefix: str, queue: str, *, fifo: bool, suffix: str = "") -> str:
    """The name of a queue in SQS.

    Raises:
        FluxaError: `Configuration`, if SQS would refuse it.
    """
    name = f"{prefix}{queue}{suffix}"
    if not _NAME.match(name) or len(name) + 5 * fifo > 80:  # noqa: PLR2004 - SQS's limit
        raise FluxaError(
            ErrorCode.CONFIGURATION, f"{name!r} cannot name a queue in SQS: use up to 75 letters, digits, _ and -."
        )
    return f"{name}.fifo" if fifo else name


def acceptable(text: str) -> str:
    """The same JSON without the characters that SQS refuses."""
    return text.translate(_REFUSED)


def group_of(key: str | None, record_id: str, rule: KeyRule) -> str:
    """The FIFO group of a message: SQS leases one of a group at a time, so a key has as many as may be leased at once.

    Records without a key know no limit: each is a group of its own.
    """
    if key is None:
        return "r-" + hashlib.sha256(record_id.encode()).hexdigest()[:40]
    name = "k-" + hashlib.sha256(key.encode()).hexdigest()[:40]
    lanes = 1 if rule.ordered else max(1, rule.limit)
    spread = int.from_bytes(hashlib.blake2b(record_id.encode(), digest_size=8).digest(), "big")
    return f"{name}-{spread % lanes}"


def dedup_of(*parts: str) -> str:
    """A name for one sending."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def refer(text: str) -> Reference:
    """What stands for a message that is kept elsewhere."""
    content = text.encode()
    return Reference(fluxa=1, digest=hashlib.sha256(content).hexdigest(), size=len(content))


def reference(text: str) -> Reference | None:
    """What a message refers to, if it is such a one."""
    if not text.startswith('{"fluxa":') or f'"packing":"{SPILLED}"' not in text:
        return None
    try:
        found = _decode_reference.decode(text)
    except msgspec.DecodeError:
        return None
    return found if found.packing == SPILLED else None


def resolved(found: Reference, content: bytes) -> str:
    """The message that was referred to.

    Raises:
        FluxaError: `HashMismatch`, if it is not the one that was stored.
    """
    if len(content) != found.size or hashlib.sha256(content).hexdigest() != found.digest:
        raise FluxaError(ErrorCode.HASH_MISMATCH, f"the object {found.key} is not the message that was stored")
    return content.decode()


def batches(messages: Sequence[Outgoing], *, bytes_max: int, ordered: bool = False) -> Iterator[list[int]]:
    """Positions of messages that fit in one request together, in order.

    A request may fail in part, so where order matters it holds one message of a group at most.
    """
    batch: list[int] = []
    groups: set[str] = set()
    size = 0
    for position, message in enumerate(messages):
        full = len(batch) == BATCH_ENTRIES or size + message.size > bytes_max or (ordered and message.group in groups)
        if batch and full:
            yield batch
            batch, groups, size = [], set(), 0
        batch.append(position)
        groups.add(message.group)
        size += message.size
    if batch:
        yield batch


def seconds(span_s: float) -> int:
    """Whole seconds, as SQS counts them; no fewer than asked."""
    return max(0, math.ceil(span_s))


def lease(span_s: float) -> int:
    """A lease as SQS takes it: whole seconds, no fewer than asked, half a day at most."""
    return min(VISIBILITY_MAX_S, seconds(span_s))


def storable(text: str) -> str:
    """A message's text as Postgres `jsonb` takes it; what is no JSON, or holds a NUL, becomes one JSON string."""
    if "\\u0000" in text:
        return json.text(text)
    try:
        value = json.decode(text)
    except FluxaError:
        return json.text(text)
    return json.text(text) if isinstance(value, str) else text


def unstored(text: str) -> str:
    """The text that `storable` was given, up to the form that `jsonb` gives to JSON."""
    if not text.startswith('"'):
        return text
    value = json.decode(text)
    return value if isinstance(value, str) else text
