"""What became of one source row, read from the ledger beside a report, with its proof.

A report keeps the ledger's Merkle root; the ledger itself lies in the same folder. The row's entry
is hashed again and its inclusion proof is checked against the root in the report, so a ledger that
was changed afterwards is told from the one that the report speaks of.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from harness.checkers.accounting import LedgerEntry, Target
from harness.database import open_read_only
from harness.errors import BadInputError
from harness.merkle import audit_path, verify_inclusion

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One row's entry, its number in the ledger, and the proof that it is in the report's root."""

    entry: LedgerEntry
    run: str
    number: int
    leaves: int
    leaf: str
    path: tuple[str, ...]
    root: str
    proven: bool

    def text(self) -> str:
        """Return the explanation as lines for a person."""
        entry = self.entry
        row = f" ({entry.row})" if entry.row and entry.row != entry.key else ""
        lines = [f"{entry.source}/{entry.table}/{entry.key}{row}", f"  SHA-256 {entry.digest}"]
        lines.append(f"came over by the rule {entry.rule!r}")
        lines += [f"  {t.table}/{t.key}\n    SHA-256 {t.digest}" for t in entry.targets]
        lines.append(f"entry {self.number + 1} of {self.leaves} in the ledger of {self.run}")
        lines.append(f"  leaf {self.leaf}")
        lines += [f"  with {sibling}" for sibling in self.path]
        lines.append(f"  root {self.root}")
        lines.append(
            "proven: the entry is in the root that the report names"
            if self.proven
            else "NOT PROVEN: the ledger beside the report is not the one that the report names"
        )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        entry = self.entry
        return {
            "source": entry.source,
            "table": entry.table,
            "key": entry.key,
            "row": entry.row,
            "digest": entry.digest,
            "rule": entry.rule,
            "targets": [
                {"table": t.table, "key": t.key, "digest": t.digest} for t in entry.targets
            ],
            "run": self.run,
            "number": self.number,
            "leaves": self.leaves,
            "leaf": self.leaf,
            "path": list(self.path),
            "root": self.root,
            "proven": self.proven,
        }


def explain(place: str, report: Path) -> list[Explanation]:
    """Return what became of the row at `place`, such as `legacy/memory_blocks/mem_001`.

    `report` is report.json or its folder. A row without a key is named by its rowid, as
    `legacy/memory_block_embeddings/rowid:5`. One explanation for each run that has the row;
    BadInputError where none has, with what is near.
    """
    path = report / "report.json" if report.is_dir() else report
    source, table, key = _parts(place)
    found: list[Explanation] = []
    near: set[str] = set()
    for run, ledger, root in _ledgers(path):
        with closing(open_read_only(ledger, at_rest=True)) as connection:
            try:
                found += _explanations(connection, run, root, (source, table, key))
                near |= set(_near(connection, source, table, key))
            except (apsw.SQLError, apsw.NotADBError) as error:
                raise BadInputError(f"{ledger} is not a ledger: {error}") from error
    if not found:
        close = difflib.get_close_matches(place, sorted(near), n=3, cutoff=0.3)
        hint = f"; near it are {', '.join(close)}" if close else ""
        raise BadInputError(f"{place} is not in the ledger of {path}{hint}")
    return found


def _parts(place: str) -> tuple[str, str, str]:
    parts = place.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise BadInputError(
            f"{place!r} names no row; write DATABASE/TABLE/KEY, as legacy/memory_blocks/mem_001"
        )
    return parts[0], parts[1], parts[2]


def _ledgers(report: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the name, the ledger's file and the root of each run in a report that kept one."""
    try:
        document = json.loads(report.read_text())
        runs = [run for run in document["runs"] if run.get("ledger")]
    except OSError as error:
        raise BadInputError(f"{report}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{report} is not a report: {error!r}") from error
    kept = 0
    for run in runs:
        path = report.parent / (run["ledger"].get("path") or "ledger.sqlite")
        if path.is_file():
            kept += 1
            yield str(run.get("name", "run")), path, str(run["ledger"]["root"])
    if not kept:
        raise BadInputError(f"no ledger lies beside {report}; run the rehearsal again to get one")


def _explanations(
    connection: apsw.Connection, run: str, root: str, place: tuple[str, str, str]
) -> Iterator[Explanation]:
    leaves = int(str(connection.execute("SELECT leaves FROM ledger").fetchall()[0][0]))

    def hashes(start: int, stop: int) -> Iterator[bytes]:
        sql = "SELECT leaf FROM entries WHERE number >= ? AND number < ? ORDER BY number"
        for (leaf,) in connection.execute(sql, (start, stop)):
            yield leaf

    rows = connection.execute(
        "SELECT number, source, source_table, key, source_row, digest, rule, targets FROM entries"
        " WHERE source = ?1 AND source_table = ?2 AND (key = ?3 OR source_row = ?3)",
        place,
    ).fetchall()
    for number, *texts, targets in rows:
        source, table, key, row, digest, rule = (str(text) for text in texts)
        entry = LedgerEntry(
            source=source,
            table=table,
            key=key,
            row=row,
            digest=digest,
            rule=rule,
            targets=tuple(Target(*target) for target in json.loads(str(targets))),
        )
        index, hashed = int(str(number)), entry.hash()
        path = audit_path(index, leaves, hashes)
        yield Explanation(
            entry=entry,
            run=run,
            number=index,
            leaves=leaves,
            leaf=hashed.hex(),
            path=tuple(sibling.hex() for sibling in path),
            root=root,
            proven=verify_inclusion(
                hashed=hashed, index=index, size=leaves, path=path, root=bytes.fromhex(root)
            ),
        )


def _near(connection: apsw.Connection, source: str, table: str, key: str) -> Iterator[str]:
    """Yield places that somebody may have meant: keys of the table, or tables of any source."""
    keys = connection.execute(
        "SELECT key FROM entries WHERE source = ? AND source_table = ?"
        " ORDER BY key NOT LIKE ?, key LIMIT 2000",
        (source, table, key[:3] + "%"),
    ).fetchall()
    for (other,) in keys:
        yield f"{source}/{table}/{other}"
    if not keys:
        pairs = connection.execute(
            "SELECT source, source_table, min(key) FROM entries GROUP BY source, source_table"
        )
        for other_source, other_table, first in pairs:
            yield f"{other_source}/{other_table}/{first}"
