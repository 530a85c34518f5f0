"""A mapping file is read whole, and what is wrong in it is named with its key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.errors import BadInputError
from harness.mapping import FullText, Listed, Mapping, Nearest

WHOLE = """
contract: 1
unified: devflow.sqlite
schema: schema/unified.sql
version: SELECT 2
tables:
  legacy.blocks:
    from: origin AS o JOIN memory AS u ON u.seq = o.seq
    key: o.source_rowid
    columns:
      id: u.id
      content: u.content
      score: 0
    other_columns: o."x_{column}"
    residue: o.residue
    targets:
      memory: o.seq
    rule: o.rule
registry:
  lines: SELECT line_no, raw FROM log
  last_newline: SELECT 1
  health: SELECT 1, 'p', 1
carried: SELECT 1, 2, 3
decisions: SELECT 1
added: SELECT 1
sequences: SELECT 1
in_use:
  fulltext:
    - {source: legacy.blocks, column: content, tokenize: porter, query: SELECT 1}
  nearest:
    - {source: legacy.blocks, vector: v, model: m, query: SELECT 2}
    - {source: legacy.blocks, vector: w, query: SELECT 3}
  listed:
    - {source: legacy.blocks, query: SELECT 4}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(text)
    return path


def test_every_key_of_the_format_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    mapping = Mapping.load(path)
    table = mapping.tables["legacy", "blocks"]
    assert list(table.columns) == ["id", "content", "score"]
    assert (table.columns["score"], table.targets) == ("0", {"memory": "o.seq"})
    assert (table.residue, table.rule, table.name) == ("o.residue", "o.rule", "legacy.blocks")
    assert mapping.schema_path == tmp_path / "schema" / "unified.sql"
    assert mapping.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert mapping.registry is not None
    assert (mapping.registry.last_newline, mapping.registry.failovers) == ("SELECT 1", None)
    shared = {"source": "legacy", "table": "blocks"}
    assert mapping.in_use.fulltext == (
        FullText(**shared, column="content", tokenize="porter", query="SELECT 1"),
    )
    assert mapping.in_use.nearest == (
        Nearest(**shared, vector="v", model="m", query="SELECT 2"),
        Nearest(**shared, vector="w", model=None, query="SELECT 3"),
    )
    assert mapping.in_use.listed == (Listed(**shared, query="SELECT 4"),)


def test_a_listing_may_be_of_certain_values_alone(tmp_path: Path) -> None:
    text = WHOLE.replace("query: SELECT 4", "query: SELECT 4, column: status, values: [open, new]")
    (listed,) = Mapping.load(written(tmp_path, text)).in_use.listed
    assert (listed.column, listed.values) == ("status", ("open", "new"))


def test_a_short_mapping_has_defaults(tmp_path: Path) -> None:
    mapping = Mapping.load(written(tmp_path, "contract: 1\ntables: {}\n"))
    assert (mapping.unified, mapping.schema_path, mapping.registry) == (
        "devflow.sqlite",
        None,
        None,
    )
    assert mapping.in_use.listed == ()


def test_columns_are_found_as_sqlite_finds_them(tmp_path: Path) -> None:
    table = Mapping.load(written(tmp_path, WHOLE)).tables["legacy", "blocks"]
    assert table.inverse_of("CONTENT") == "u.content"
    assert table.inverse_of('ne"w') == 'o."x_ne""w"'
    without = Mapping.load(
        written(tmp_path, WHOLE.replace('    other_columns: o."x_{column}"\n', ""))
    )
    assert without.tables["legacy", "blocks"].inverse_of("new") is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("contract: 1", "contract: 2", "contract: is 2, but this harness speaks 1"),
        ("contract: 1\n", "", "key 'contract' is missing"),
        ("carried:", "caried:", "unknown key 'caried'; did you mean 'carried'"),
        ("    rule: o.rule", "    rul: o.rule", "tables.legacy.blocks: unknown key 'rul'"),
        ("    key: o.source_rowid\n", "", "tables.legacy.blocks: key 'key' is missing"),
        ("    rule: o.rule", "    rule: [1]", "tables.legacy.blocks.rule: must be text"),
        ("    rule: o.rule", "    rule: ' '", "tables.legacy.blocks.rule: is empty"),
        ("      id: u.id", "      id: true", "tables.legacy.blocks.columns.id: must be text"),
        ("      memory: o.seq", "      - memory", "targets: must be a mapping of names to SQL"),
        ("  legacy.blocks:", "  other.blocks:", "tables.other.blocks: must be named root.TABLE"),
        ("  legacy.blocks:", "  blocks:", "tables.blocks: must be named root.TABLE"),
        (
            "source: legacy.blocks, vector: w",
            "source: vector, vector: w",
            "in_use.nearest[1].source",
        ),
        ("  listed:\n    - {", "  listed:\n    {", "in_use.listed: must be a list"),
        ("query: SELECT 4", "quer: SELECT 4", "in_use.listed[0]: unknown key 'quer'"),
        (
            "query: SELECT 4",
            "query: SELECT 4, column: status",
            "in_use.listed[0]: `column` goes with one of `values` and `is_null`",
        ),
        (
            "query: SELECT 4",
            "query: SELECT 4, column: status, values: [open], is_null: true",
            "in_use.listed[0]: `column` goes with one of `values` and `is_null`",
        ),
        (
            "query: SELECT 4",
            "query: SELECT 4, column: status, is_null: maybe",
            "in_use.listed[0].is_null: must be true or false",
        ),
        (
            "    rule: o.rule",
            "    shown: {idd: u.id}",
            "tables.legacy.blocks.shown: unknown key 'idd'; did you mean 'id'?",
        ),
        (
            "query: SELECT 4",
            "query: SELECT 4, column: status, values: [7]",
            "in_use.listed[0].values: must be a list of texts",
        ),
        ("  lines: SELECT line_no, raw FROM log\n", "", "registry: key 'lines' is missing"),
        ("added: SELECT 1", "added: SELECT 1\nadded: SELECT 2", "key 'added' stands twice"),
        ("added: SELECT 1", "added: [", "line 27: "),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    assert WHOLE.count(old) >= 1
    path = written(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(BadInputError) as told:
        Mapping.load(path)
    assert str(told.value).startswith(f"{path}: ")
    assert complaint in str(told.value)


@pytest.mark.parametrize("text", ["", "[]", "contract: 1\ntables: []\n"])
def test_other_documents_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="must be a mapping"):
        Mapping.load(written(tmp_path, text))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read: No such file"):
        Mapping.load(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadInputError, match=r"bytes\.yaml"):
        Mapping.load(tmp_path / "bytes.yaml")
    with pytest.raises(BadInputError, match="is nested too deeply"):
        Mapping.load(written(tmp_path, "[" * 5_000))


def test_a_residue_mask_has_room_for_63_columns(tmp_path: Path) -> None:
    many = "".join(f"      c{n}: u.id\n" for n in range(62))
    with pytest.raises(BadInputError, match="room for 63 columns"):
        Mapping.load(written(tmp_path, WHOLE.replace("      score: 0\n", many)))
