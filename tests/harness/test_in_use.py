from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from handmade import evidence, rules

from harness.checkers import in_use
from harness.checkers.wording import queries_of
from harness.model import CheckResult, Severity, Verdict

TEXTS = [
    "the quick brown fox",
    "the lazy dog slept",
    "quarterly figures of the fox",
    "",
    "naïve café 🦊",
    'it\'s "quoted" AND (bracketed) OR NOT*',
]


def blob(*values: float) -> str:
    return "x'" + struct.pack(f"<{len(values)}f", *values).hex() + "'"


VECTORS = [
    ("m", blob(1, 0)),
    ("m", blob(0.9, 0.1)),
    ("m", blob(0, 1)),
    ("m", blob(1, 0)),
    ("m", blob(float("nan"), 1)),
    ("m", blob(float("inf"), 1)),
    ("m", blob(0, 0)),
    ("other", blob(1, 0)),
    ("m", blob(1, 0, 0)),
]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def inserts(table: str, *, keys: bool) -> str:
    key = "origin" if keys else "id"
    texts = "".join(
        f"INSERT INTO {table}_texts VALUES ({f'{n + 100}, ' if keys else ''}{n}, {quoted(text)});"
        for n, text in enumerate(TEXTS, 1)
    )
    vectors = "".join(
        f"INSERT INTO {table}_vectors VALUES ({f'{n + 100}, ' if keys else ''}{n}, '{model}',"
        f" {vector}, {(len(vector) - 3) // 8});"
        for n, (model, vector) in enumerate(VECTORS, 1)
    )
    odd = f"UPDATE {table}_vectors SET model = CAST(x'61ff' AS TEXT) WHERE {key} = 8;"
    invalid = f"UPDATE {table}_texts SET body = CAST(x'776f726420ff2066' AS TEXT) WHERE {key} = 4;"
    return texts + vectors + odd + invalid


SOURCE = (
    "CREATE TABLE s_texts (id INTEGER PRIMARY KEY, body TEXT);"
    "CREATE TABLE s_vectors (id INTEGER PRIMARY KEY, model TEXT, v BLOB, dimensions INTEGER);"
    + inserts("s", keys=False)
    + "INSERT INTO s_texts VALUES (9, NULL);"
    "INSERT INTO s_vectors VALUES (10, 'm', x'010203', 1), (11, 'm', x'01020304', 9);"
)
UNIFIED = (
    "CREATE TABLE u_texts (seq INTEGER PRIMARY KEY, origin INTEGER, body TEXT);"
    "CREATE TABLE u_vectors"
    " (seq INTEGER PRIMARY KEY, origin INTEGER, model TEXT, v BLOB, dimensions INTEGER);"
    "CREATE VIRTUAL TABLE fts USING fts5(body, content='u_texts', content_rowid='seq',"
    " tokenize='porter ascii');" + inserts("u", keys=True)
)
REBUILD = "INSERT INTO fts (fts) VALUES ('rebuild');"
USES: dict[str, Any] = {
    "fulltext": [
        {
            "source": "legacy.s_texts",
            "column": "body",
            "tokenize": "porter ascii",
            "query": "SELECT u.origin FROM fts JOIN u_texts AS u ON u.seq = fts.rowid"
            " WHERE fts MATCH :match",
        }
    ],
    "nearest": [
        {
            "source": "legacy.s_vectors",
            "vector": "v",
            "model": "model",
            "query": "SELECT origin FROM u_vectors WHERE model = :model"
            " AND dimensions = :dimensions AND length(v) = 4 * dimensions"
            " ORDER BY vec_distance_cosine(v, :vector), 1 LIMIT :k",
        }
    ],
    "listed": [{"source": "legacy.s_texts", "query": "SELECT origin FROM u_texts"}],
}
LISTED = "INSERT INTO u_texts VALUES (900, 9, NULL);"


def check(directory: Path, change: str = "", **more: Any) -> CheckResult:
    return in_use.check(
        evidence(
            directory,
            sources={"legacy": SOURCE},
            unified=UNIFIED + LISTED + change + REBUILD,
            in_use={**USES, **more},
        )
    )


def test_the_same_answers_are_valid(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.findings == ()
    assert result.verdict is Verdict.VALID
    assert result.examined["listings"] == 1
    assert result.examined["nearest-neighbour queries"] == 9
    assert result.examined["full-text queries"] >= 6
    assert result.details["nearest"]["legacy.s_vectors"]["malformed"] == 2
    assert result.details["fulltext"]["legacy.s_texts"]["texts"] == 6


def test_nothing_after_is_unknown(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": SOURCE}, unified=None, in_use=USES)
    assert in_use.check(made).verdict is Verdict.UNKNOWN


def test_no_declared_use_is_unknown(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": SOURCE}, unified=UNIFIED)
    assert in_use.check(made).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE u_texts SET body = 'the quick brown' WHERE origin = 1;", {"in-use/not-found"}),
        ("DELETE FROM u_texts WHERE origin = 5;", {"in-use/not-found", "in-use/not-listed"}),
        (
            "UPDATE u_texts SET origin = 3 - origin WHERE origin IN (1, 2);",
            {"in-use/not-found", "in-use/found-wrongly"},
        ),
        ("INSERT INTO u_texts VALUES (901, 77, 'x');", {"in-use/listed-wrongly"}),
        ("UPDATE u_vectors SET model = 'n' WHERE origin = 2;", {"in-use/not-found"}),
        (f"UPDATE u_vectors SET v = {blob(-1, 0.5)} WHERE origin = 2;", {"in-use/order-changed"}),
        ("UPDATE u_vectors SET model = 'a' WHERE origin = 8;", {"in-use/not-found"}),
        ("DELETE FROM u_vectors WHERE origin = 9;", {"in-use/not-found"}),
    ],
)
def test_another_answer_is_found(tmp_path: Path, change: str, expected: set[str]) -> None:
    assert rules(check(tmp_path, change)) == expected


def test_a_failing_query_is_a_finding(tmp_path: Path) -> None:
    broken = [{**USES["listed"][0], "query": "SELECT origin FROM nowhere"}]
    assert rules(check(tmp_path, listed=broken)) == {"in-use/query-failed"}


def test_an_unknown_tokenizer_is_a_finding(tmp_path: Path) -> None:
    broken = [{**USES["fulltext"][0], "tokenize": "no such one"}]
    assert rules(check(tmp_path, fulltext=broken)) == {"in-use/query-failed"}


def test_an_older_source_without_the_table_is_not_asked(tmp_path: Path) -> None:
    missing = [{"source": "legacy.later", "query": "SELECT origin FROM u_texts"}]
    result = check(tmp_path, listed=missing)
    assert result.examined["listings"] == 0
    assert result.findings == ()


def test_a_planned_table_without_a_use_is_a_warning(tmp_path: Path) -> None:
    tables = {
        "legacy.s_texts": {"from": "u_texts", "key": "origin", "columns": {"id": "origin"}},
        "legacy.s_vectors": {"from": "u_vectors", "key": "origin", "columns": {"id": "origin"}},
    }
    made = evidence(
        tmp_path,
        sources={"legacy": SOURCE},
        unified=UNIFIED + LISTED + REBUILD,
        tables=tables,
        in_use={"listed": USES["listed"]},
    )
    result = in_use.check(made)
    assert rules(result, Severity.WARNING) == {"in-use/not-declared"}
    assert [finding.table for finding in result.findings] == ["s_vectors"]


def test_many_differences_are_counted_and_not_all_named(tmp_path: Path) -> None:
    rows = ",".join(f"({n}, {n}, 'word{n}')" for n in range(2_000, 2_030))
    result = check(tmp_path, f"INSERT INTO u_texts VALUES {rows};")
    wrong = [f for f in result.findings if f.rule == "in-use/listed-wrongly"]
    assert len(wrong) == 11
    assert wrong[-1].cause == "20 more like these in this table"


def test_every_text_with_a_word_gets_a_query_of_its_own() -> None:
    texts = [(n, f"common words number{n}".encode()) for n in range(50)]
    queries, without = queries_of([*texts, (99, b"!?")], limit=200)
    assert without == 1
    assert all(any(f'number{n}"' in query for query in queries) for n in range(50))


def test_words_beside_bytes_past_ascii_are_left_out() -> None:
    queries, _ = queries_of([(1, "caf\u00e9s plain \u00fcber".encode())], limit=10)
    assert list(queries) == ['"plain"']


def test_a_file_that_is_no_database_is_a_finding(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": SOURCE}, unified=UNIFIED, in_use=USES)
    assert made.after is not None
    made.after.write_bytes(b"no database at all " * 400)
    assert rules(in_use.check(made)) <= {"in-use/unreadable", "in-use/query-failed"}
    assert in_use.check(made).verdict is Verdict.INVALID


def test_long_texts_are_searched_by_their_beginning_and_end(tmp_path: Path) -> None:
    long = "first " + "x " * 5_000 + " lastword"
    sources = {
        "legacy": f"CREATE TABLE s (id INTEGER PRIMARY KEY, body); INSERT INTO s"
        f" VALUES (1, '{long}'), (2, 12345), (3, x'6279746573')"
    }
    use = {**USES["fulltext"][0], "source": "legacy.s"}
    rows = f"(1, 1, '{long}'), (2, 2, 12345), (3, 3, x'6279746573')"
    unified = UNIFIED.split("INSERT")[0] + f"INSERT INTO u_texts VALUES {rows};" + REBUILD
    made = evidence(tmp_path, sources=sources, unified=unified, in_use={"fulltext": [use]})
    result = in_use.check(made)
    assert result.findings == ()
    assert result.details["fulltext"]["legacy.s"]["texts asked for"] == 3
