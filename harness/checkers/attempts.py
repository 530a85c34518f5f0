"""Whether what an earlier attempt brought into the root was known again, and mended.

An attempt to migrate by hand has left blocks in the root that say of themselves where they came
from: their metadata are `{"source": "migration", "original_id": …}`. Such a block and the legacy
one that it was made of are one thing, where their content is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, Final

import apsw

from harness.checkers.evidence import Evidence
from harness.database import quote
from harness.mapping import TableMapping
from harness.model import Finding

__all__ = ["judge_attempts"]

_TABLE: Final = "memory_blocks"
_CLAIMS: Final = """
SELECT rowid, CAST(json_extract(metadata, '$.original_id') AS BLOB), typeof(content),
    CAST(content AS BLOB) FROM memory_blocks
WHERE CASE WHEN typeof(metadata) = 'text' AND json_valid(metadata) THEN
    json_type(metadata) = 'object' AND json_extract(metadata, '$.source') = 'migration'
    AND json_type(metadata, '$.original_id') = 'text' END"""
_ORIGINAL: Final = """
SELECT rowid FROM memory_blocks WHERE id = CAST(? AS TEXT) AND typeof(id) = 'text'
    AND typeof(content) = ? AND CAST(content AS BLOB) = ?"""


def judge_attempts(evidence: Evidence, unified: apsw.Connection) -> tuple[tuple[Finding, ...], int]:
    """Return what is wrong with an earlier attempt's rows, and how many were looked at.

    Only a block that one row alone claims to come from is judged: of two, either may be it.
    """
    root = evidence.mapping.tables.get(("root", _TABLE))
    legacy = evidence.mapping.tables.get(("legacy", _TABLE))
    pairs = list(_pairs(evidence))
    findings: list[Finding] = []
    if root and legacy and pairs:
        with suppress(apsw.SQLError):  # an inverse that fails is told by the rows checker
            findings += _doubled(unified, root, legacy, pairs)
            findings += _unmended(unified, evidence, legacy, [old for _, old in pairs])
    return tuple(findings), len(pairs)


def _pairs(evidence: Evidence) -> Iterator[tuple[int, int]]:
    """Yield the rowids of a root block and of the legacy one that it says it was made of."""
    if {evidence.before.state(source) for source in ("root", "legacy")} != {"sqlite"}:
        return
    with (
        closing(evidence.before.open("root")) as root,
        closing(evidence.before.open("legacy")) as legacy,
        suppress(apsw.SQLError),  # no such table, or of another shape
    ):
        found: dict[int, list[int]] = {}
        for claim, original, kind, content in root.execute(_CLAIMS).fetchall():
            for (row,) in legacy.execute(_ORIGINAL, (original, kind, content)).fetchall():
                found.setdefault(int(str(row)), []).append(int(str(claim)))
        yield from ((claims[0], row) for row, claims in found.items() if len(claims) == 1)


def _doubled(
    unified: apsw.Connection,
    root: TableMapping,
    legacy: TableMapping,
    pairs: list[tuple[int, int]],
) -> Iterator[Finding]:
    for name in set(root.targets) & set(legacy.targets):
        ours, theirs = _became(unified, root, name), _became(unified, legacy, name)
        for claim, row in pairs:
            if row in theirs and claim in ours and ours[claim] != theirs[row]:
                yield Finding(
                    rule="ledger/attempt-doubled",
                    cause=f"an earlier attempt had brought it into the root (row {claim}), and it"
                    f" came once more, as row {theirs[row]} of {name}",
                    database="legacy",
                    table=legacy.table,
                    key=f"rowid:{row}",
                )


def _became(unified: apsw.Connection, mapped: TableMapping, target: str) -> dict[int, Any]:
    rows = unified.execute(f"SELECT {mapped.key}, {mapped.targets[target]} FROM {mapped.from_}")
    return {int(str(row)): key for row, key in rows}


def _unmended(
    unified: apsw.Connection, evidence: Evidence, legacy: TableMapping, rows: list[int]
) -> Iterator[Finding]:
    """Yield the legacy texts that an earlier attempt's row ought to have been given back."""
    if legacy.residue is None:
        return
    select = f"SELECT {legacy.key}, {legacy.residue} FROM {legacy.from_} WHERE {legacy.key} = ?"
    with closing(evidence.before.open("legacy")) as before:
        for row in rows:
            for _, mask in unified.execute(select, (row,)).fetchall():
                for number, column in enumerate(legacy.columns):
                    if int(str(mask)) >> number & 1 and _is_text(before, column, row):
                        yield Finding(
                            rule="ledger/attempt-unmended",
                            cause="an earlier attempt had changed it, and it was not mended: the"
                            " legacy text is beside the unified row only",
                            database="legacy",
                            table=legacy.table,
                            key=f"rowid:{row}",
                            column=column,
                        )


def _is_text(before: apsw.Connection, column: str, row: int) -> bool:
    if column == "id":  # the root's row keeps the id that it goes by
        return False
    sql = f"SELECT typeof({quote(column)}) = 'text' FROM memory_blocks WHERE rowid = ?"
    return bool(before.execute(sql, (row,)).get)
