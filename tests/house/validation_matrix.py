"""Writes docs/validation-matrix.md: every requirement, the tests that prove it, and how they last ended."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from house.tree import ROOT
from req_results import FILE

REQUIREMENTS = ROOT / "docs" / "reference" / "requirements.md"
PAGE = ROOT / "docs" / "validation-matrix.md"
_ROW = re.compile(r"^\| ([A-Z]+-[\w-]+) \| (.+) \|$", re.MULTILINE)
_PART = re.compile(r"^- ([A-Z]+-[\w-]+): (.+)$", re.MULTILINE)
_HEAD = """# Validation matrix

Written by `make matrix` from [the requirements](reference/requirements.md) and the last `make test`. Do not edit.
*Proved*: every test of the row passed. *In part*: they did, but something it promises is not built yet.
*Partly run*: some were skipped. *Broken*: one failed. *Open*: there is no test.

"""


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that bears a row's id, and how it ended: passed, skipped or failed."""

    test: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Row:
    """A requirement with its proofs, and what of it is not built yet."""

    id: str
    promise: str
    proofs: tuple[Proof, ...]
    missing: str = ""

    @property
    def result(self) -> str:
        """What the proofs say together."""
        outcomes = {proof.outcome for proof in self.proofs}
        if not outcomes:
            return "open"
        if "failed" in outcomes:
            return "**broken**"
        if "skipped" in outcomes:
            return "partly run"
        return "in part" if self.missing else "proved"


def rows(requirements: str, results: Mapping[str, Mapping[str, object]]) -> tuple[Row, ...]:
    """Join the requirements' table with the results by test."""
    proofs: dict[str, list[Proof]] = {}
    for test, result in sorted(results.items()):
        marked = result["rows"]
        assert isinstance(marked, list)
        for bearer in marked:
            proofs.setdefault(str(bearer), []).append(Proof(test, str(result["outcome"])))
    missing = dict(_PART.findall(requirements))
    return tuple(
        Row(row, promise, tuple(proofs.get(row, ())), missing.get(row, ""))
        for row, promise in _ROW.findall(requirements)
    )


def page(matrix: tuple[Row, ...]) -> str:
    """The matrix in Markdown: a summary by area, then each row with links to its tests."""
    areas: dict[str, list[Row]] = {}
    for row in matrix:
        areas.setdefault(row.id.partition("-")[0], []).append(row)
    lines = ["| area | rows | proved | in part | open |", "|---|---|---|---|---|"]
    for area, inside in areas.items():
        proved = sum(row.result == "proved" for row in inside)
        part = sum(row.result == "in part" for row in inside)
        lines.append(f"| {area} | {len(inside)} | {proved} | {part} | {sum(not row.proofs for row in inside)} |")
    for area, inside in areas.items():
        lines += ["", f"## {area}", "", "| row | promise | result | proofs |", "|---|---|---|---|"]
        lines += [f"| {row.id} | {_promise(row)} | {row.result} | {_links(row)} |" for row in inside]
    return _HEAD + "\n".join(lines) + "\n"


def _promise(row: Row) -> str:
    return f"{row.promise}<br>*Still missing: {row.missing}*" if row.missing else row.promise


def _links(row: Row) -> str:
    counts: dict[str, list[Proof]] = {}
    for proof in row.proofs:
        counts.setdefault(proof.test.partition("::")[0], []).append(proof)
    return "<br>".join(
        f"[{file.removeprefix('tests/')}](../{file}) {sum(proof.outcome == 'passed' for proof in proofs)}/{len(proofs)}"
        for file, proofs in counts.items()
    )


def main(arguments: list[str]) -> int:
    """Write the page, or with `--summary` say in one line how far the rows are proved."""
    path = ROOT / FILE
    if not path.exists():
        print(f"There are no results in {FILE}. Run: make test", file=sys.stderr)  # noqa: T201 - a program's answer
        return 1
    matrix = rows(REQUIREMENTS.read_text("utf-8"), json.loads(path.read_text("utf-8")))
    if "--summary" not in arguments:
        PAGE.write_text(page(matrix), "utf-8")
    proved = sum(row.result == "proved" for row in matrix)
    tested = sum(bool(row.proofs) for row in matrix)
    print(f"Requirements: {proved} proved of {tested} that have tests; {len(matrix) - tested} open.")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
