"""The audit log as lines of JSON that can be verified without the database. Not: reading or writing files."""

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Iterator

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger.chain import GENESIS, Chain, Entry, Head
from fluxa.operations.ledger.ledger import Ledger
from fluxa.operations.ledger.verify import Report, verify_entries

_PAGE = 1000


class _Begin(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="chain"):
    """The first line of a chain: where it begins, and how it ended when it was exported."""

    tenant: Tenant
    after: int
    previous: str
    number: int
    hash: str
    at: dt.datetime


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="entry"):
    """An entry; its detail stands there byte for byte as it was hashed."""

    tenant: Tenant
    number: int
    version: int
    at: dt.datetime
    actor: str
    action: str
    subject: str
    detail: msgspec.Raw
    correlation_id: str
    previous: str
    hash: str


_read = msgspec.json.Decoder(_Begin | _Line).decode


def line_of(entry: Entry) -> bytes:
    """One entry as a line of JSON, without its end."""
    return json.encode(
        _Line(
            tenant=entry.tenant,
            number=entry.number,
            version=entry.version,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=msgspec.Raw(entry.detail),
            correlation_id=entry.correlation_id,
            previous=entry.previous.hex(),
            hash=entry.hash.hex(),
        )
    )


async def export(ledger: Ledger, tenant: str | None = None, *, after: int = 0) -> AsyncIterator[bytes]:
    """The lines of one chain, or of all, as far as they reach now; each without its end.

    Args:
        ledger: where from.
        tenant: whose; None: of all tenants.
        after: leave out entries up to this number.

    Raises:
        FluxaError: an outage.
    """
    for head in await ledger.heads(tenant):
        begins = min(after, head.number)
        previous = (await ledger.get(head.tenant, begins)).hash if begins else GENESIS
        yield json.encode(
            _Begin(
                tenant=head.tenant,
                after=begins,
                previous=previous.hex(),
                number=head.number,
                hash=head.hash.hex(),
                at=head.at,
            )
        )
        at = begins
        while at < head.number:
            entries = await ledger.after(head.tenant, at, limit=min(_PAGE, head.number - at))
            for entry in entries:
                if entry.number <= head.number:
                    yield line_of(entry)
            if not entries:
                break
            at = entries[-1].number


def verify_lines(lines: Iterable[bytes], anchors: Iterable[Head] = ()) -> Report:
    """Check what `export` wrote, line by line.

    Raises:
        FluxaError: `MalformedMessage` for a line that is none of an export.
    """
    return verify_entries(_chains(lines), anchors)


def _chains(lines: Iterable[bytes]) -> Iterator[tuple[Head, Chain, Iterator[Entry]]]:
    rest = enumerate(lines, 1)
    begin: list[_Begin] = []

    def entries() -> Iterator[Entry]:
        for number, line in rest:
            found = _parsed(number, line)
            if isinstance(found, _Begin):
                begin.append(found)
                return
            yield _entry(number, found)

    for number, line in rest:
        found = _parsed(number, line)
        if not isinstance(found, _Begin):
            raise _malformed(number, "an export begins with the line of a chain")
        begin.append(found)
        while begin:
            one = begin.pop()
            chain = Chain(one.tenant, after=one.after, previous=_hash(number, one.previous))
            yield Head(one.tenant, one.number, _hash(number, one.hash), one.at), chain, entries()


def _parsed(number: int, line: bytes) -> _Begin | _Line:
    try:
        found: _Begin | _Line = _read(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(number, str(error)) from None
    return found


def _entry(number: int, line: _Line) -> Entry:
    return Entry(
        line.tenant,
        line.number,
        line.version,
        line.at,
        line.actor,
        line.action,
        line.subject,
        bytes(line.detail).decode("utf-8", "surrogateescape"),
        line.correlation_id,
        _hash(number, line.previous),
        _hash(number, line.hash),
    )


def _hash(number: int, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise _malformed(number, "a hash is not hexadecimal") from None


def _malformed(number: int, why: str) -> FluxaError:
    return FluxaError(ErrorCode.MALFORMED_MESSAGE, f"Line {number} is not of an export of the audit log: {why}.")
