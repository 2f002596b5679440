"""Verifies the audit log: every entry, against its chain, its head and all anchors, in windows of bounded size."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger.chain import Chain, Entry, Fault, Finding, Head
from fluxa.operations.ledger.ledger import read_entry, read_head
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.operations.ledger", "verify.sql")
_WINDOW = 2000
"""Entries that are in memory at once: some megabytes."""
FINDINGS_MAX = 1000
"""Findings that are kept; beyond it they are only counted."""

Progress = Callable[[int, int], None]
"""Told how many entries are checked, of about how many."""


def unseen(_done: int, _of: int) -> None:
    """The progress of one who does not look."""


@dataclass(slots=True)
class Report:
    """What a verification found.

    Attributes:
        chains: tenants whose chain was checked.
        entries: entries that were checked.
        anchors: anchors that were compared.
        faults: how much is wrong; 0 for an intact log.
        findings: what is wrong, the first thousand.
        broken: how much is wrong with the chain of each tenant; intact ones are not in it.
        whole: the ends of the chains that were found intact.
    """

    chains: int = 0
    entries: int = 0
    anchors: int = 0
    faults: int = 0
    findings: list[Finding] = field(default_factory=list)
    broken: Counter[Tenant] = field(default_factory=Counter)
    whole: list[Head] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings in."""
        for finding in findings:
            self.faults += 1
            self.broken[finding.tenant] += 1
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(finding)


class Anchored:
    """The anchors of one tenant, compared with its entries as they pass; `what` says what was done to them."""

    def __init__(self, tenant: Tenant, anchors: Iterable[Head], what: str = "anchored") -> None:
        self._tenant = tenant
        self._what = what
        self._waiting: dict[int, set[bytes]] = defaultdict(set)
        for anchor in anchors:
            if anchor.tenant == tenant and anchor.number > 0:
                self._waiting[anchor.number].add(anchor.hash)
        self.count = len(self._waiting)

    def pass_by(self, entry: Entry) -> Iterator[Finding]:
        """Compare an entry with the anchor of its number, if there is one."""
        hashes = self._waiting.pop(entry.number, None)
        if hashes is not None and hashes != {entry.hash}:
            yield self._finding(entry.number, f"entry {entry.number} is not the one that was {self._what}")

    def end(self) -> Iterator[Finding]:
        """Name the anchors whose entries did not come."""
        for number in sorted(self._waiting):
            yield self._finding(number, f"entry {number} was {self._what} and is not there")

    def _finding(self, number: int, detail: str) -> Finding:
        return Finding(self._tenant, number, Fault.ANCHOR, detail)


@dataclass(frozen=True, slots=True)
class Known:
    """What was found before, and need not be found again.

    Attributes:
        whole: the ends of chains that were intact up to there; they must still be what they were.
        only_after: whether only what follows them is checked.
        broken: whose chains are left alone.
    """

    whole: Sequence[Head] = ()
    only_after: bool = False
    broken: Collection[str] = ()


_NOTHING = Known()


@dataclass(frozen=True, slots=True)
class _Ends:
    head: Head | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Run:
    """One chain to be checked, from entry `begin` on, which was verified before; 0: from its beginning."""

    tenant: Tenant
    end: _Ends
    compared: Sequence[Anchored]
    begin: int


class Verifier:
    """Verifies the audit log of one database; takes no lock and holds no snapshot: written entries do not change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def verify(
        self,
        tenant: str | None = None,
        *,
        anchors: Iterable[Head] = (),
        known: Known = _NOTHING,
        progress: Progress = unseen,
        tx: Transaction | None = None,
    ) -> Report:
        """Check all chains, or one, as far as they reach now.

        Args:
            tenant: whose; None: of all tenants.
            anchors: heads that were kept elsewhere; those of other tenants are left alone.
            known: what was found before.
            progress: told now and then.
            tx: where to read, if not in short transactions of its own.

        Raises:
            DatabaseUnavailableError: an outage.
        """
        kept = [anchor for anchor in anchors if tenant is None or anchor.tenant == tenant]
        before = {head.tenant: head for head in known.whole if tenant is None or head.tenant == tenant}
        async with self._database.joined(tx) as handle:
            ends = await self._ends(handle, tenant)
            for head in (*kept, *before.values()):
                ends.setdefault(head.tenant, _Ends(None, 0, 0))
            for one in known.broken:
                ends.pop(Tenant(one), None)
            of, report = sum(end.last for end in ends.values()), Report()
            for one, end in ends.items():
                compared = [Anchored(one, kept), Anchored(one, before.values(), "verified before")]
                begin = before[one].number if known.only_after and one in before else 0
                run = _Run(one, end, compared, begin)
                await self._chain(handle, run, report, lambda done: progress(done, of))
                report.chains += 1
                report.anchors += compared[0].count
        return report

    async def _ends(self, handle: Transaction, tenant: str | None) -> dict[Tenant, _Ends]:
        rows = await handle.fetch(_SQL["list_ends"], tenant)
        return {
            Tenant(row["tenant"]): _Ends(
                None if row["number"] is None else read_head(row), row["first"] or 0, row["last"] or 0
            )
            for row in rows
        }

    async def _chain(self, handle: Transaction, run: _Run, report: Report, progress: Callable[[int], None]) -> None:
        tenant, end, begin = run.tenant, run.end, run.begin
        # The entry that was verified last is read again, to see that it is still there; what it links to is not.
        chain = Chain(tenant, after=begin - 1, previous=None) if begin else Chain(tenant)
        at = chain.number if begin else min(0, end.first - 1)
        while at < end.last:
            to = min(at + _WINDOW, end.last)
            rows = await handle.fetch(_SQL["list_window"], tenant, at, to)
            for row in rows:
                entry = read_entry(row)
                report.add(chain.follow(entry))
                for anchored in run.compared:
                    report.add(anchored.pass_by(entry))
            report.entries += len(rows)
            progress(report.entries)
            at = to
            if not rows:  # over a gap of any size in one step
                found = await handle.fetch_value(_SQL["find_next"], tenant, at)
                at = end.last if found is None else found - 1
        if end.head is not None:
            report.add(chain.end(end.head))
        elif end.last:
            report.add([Finding(tenant, end.last, Fault.HEAD, f"there are entries up to {end.last}, but no head")])
        for anchored in run.compared:
            report.add(anchored.end())
        if end.head is not None and end.head.number and tenant not in report.broken:
            report.whole.append(end.head)


def verify_entries(sources: Iterable[tuple[Head, Chain, Iterator[Entry]]], anchors: Iterable[Head] = ()) -> Report:
    """Check chains that were read from somewhere else than the database.

    Args:
        sources: of each chain its head, a chain that stands where its entries begin, and the entries.
        anchors: heads that were kept elsewhere; those outside of what was read are left alone.
    """
    report, kept = Report(), list(anchors)
    for head, chain, entries in sources:
        begins = chain.number
        anchored = Anchored(head.tenant, [one for one in kept if begins < one.number <= head.number])
        for entry in entries:
            report.add(chain.follow(entry))
            report.add(anchored.pass_by(entry))
            report.entries += 1
        report.add(chain.end(head))
        report.add(anchored.end())
        report.chains += 1
        report.anchors += anchored.count
    return report
