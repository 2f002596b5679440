"""An entry of the audit log, its canonical form and hash, and how a chain of them is checked. Pure."""

import datetime as dt
import enum
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from fluxa.kernel.ids import Tenant

VERSION = 1
"""The canonical form that entries are written in."""
GENESIS = bytes(32)
"""What the first entry of a chain links to."""
_FORM = b"fluxa-ledger-1\n"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry.

    Attributes:
        tenant: whose chain it is in.
        number: its place there, from 1 without gaps.
        version: the canonical form of which `hash` was made.
        at: when it was committed; never before the entry that precedes it.
        actor: who did it.
        action: what.
        subject: to what.
        detail: more of it: JSON, byte for byte as it was hashed.
        correlation_id: the request or run it was part of.
        previous: the hash of the entry before.
        hash: SHA-256 of the canonical form, in which `previous` is.
    """

    tenant: Tenant
    number: int
    version: int
    at: dt.datetime
    actor: str
    action: str
    subject: str
    detail: str
    correlation_id: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain at some time: of the table, or kept elsewhere as an anchor.

    Attributes:
        tenant: whose chain.
        number: its last entry.
        hash: that entry's hash.
        at: when it was so.
    """

    tenant: Tenant
    number: int
    hash: bytes
    at: dt.datetime


class Fault(enum.StrEnum):
    """What is wrong with a chain."""

    ALTERED = "altered"
    """The entry is not what was hashed."""
    UNLINKED = "unlinked"
    """The entry does not follow the one before: it, or that one, was put in, moved or rewritten."""
    MISSING = "missing"
    """Entries are not there."""
    REPEATED = "repeated"
    """There is a second entry of this number, or of one before."""
    HEAD = "head"
    """The chain does not end as its head says."""
    ANCHOR = "anchor"
    """The chain is not the one that was anchored."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        tenant: in whose chain.
        number: at which entry.
        fault: what.
        detail: the same in words.
    """

    tenant: Tenant
    number: int
    fault: Fault
    detail: str


def digest(entry: Entry) -> bytes | None:
    """The hash that an entry must have; None for a version that is not known."""
    if entry.version != VERSION:
        return None
    form = bytearray(_FORM)
    for part in (
        entry.tenant,
        str(entry.number),
        str((entry.at - _EPOCH) // _MICROSECOND),
        entry.actor,
        entry.action,
        entry.subject,
        entry.detail,
        entry.correlation_id,
    ):
        content = part.encode("utf-8", "surrogatepass")
        form += b"%d:%b," % (len(content), content)
    form += entry.previous
    return hashlib.sha256(form).digest()


class Chain:
    """Checks the entries of one tenant, given in the order of their numbers; keeps only the last one's hash."""

    def __init__(self, tenant: Tenant, *, after: int = 0, previous: bytes | None = GENESIS) -> None:
        """Begin with the entry that follows `after`; `previous` is that one's hash, None if nobody knows it."""
        self._tenant = tenant
        self.number = after
        self.hash = previous

    def follow(self, entry: Entry) -> Iterator[Finding]:
        """Check the next entry; whatever is wrong with it."""
        number, previous = entry.number, self.hash
        if number <= self.number:
            yield self._finding(number, Fault.REPEATED, f"there is an entry {number} already")
            return
        if number > self.number + 1:
            yield self._gap(self.number + 1, number - 1)
        elif previous is not None and entry.previous != previous:
            yield self._finding(number, Fault.UNLINKED, f"entry {number} does not follow entry {number - 1}")
        expected = digest(entry)
        if expected is None:
            yield self._finding(number, Fault.ALTERED, f"entry {number} is of the unknown version {entry.version}")
        elif entry.hash != expected or entry.tenant != self._tenant:
            yield self._finding(number, Fault.ALTERED, f"entry {number} is not what was hashed")
        self.number, self.hash = number, entry.hash

    def end(self, head: Head) -> Iterator[Finding]:
        """Check that the chain, whose entries up to the head's were followed, ends as the head says."""
        if self.number < head.number:
            yield self._gap(self.number + 1, head.number)
        elif self.number > head.number:
            yield self._finding(
                self.number, Fault.HEAD, f"there are entries up to {self.number}, but the head says {head.number}"
            )
        elif self.hash is not None and self.hash != head.hash:
            yield self._finding(head.number, Fault.HEAD, f"entry {head.number} is not the one that the head names")

    def _gap(self, first: int, last: int) -> Finding:
        which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
        return self._finding(first, Fault.MISSING, f"{which} not there")

    def _finding(self, number: int, fault: Fault, detail: str) -> Finding:
        return Finding(self._tenant, number, fault, detail)
