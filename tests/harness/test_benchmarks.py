"""What a report shows of the last benchmark, and what it says of a file that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_inputs import gate

from harness.benchmarks import read_benchmarks
from harness.errors import BadInputError
from harness.report.document import as_document
from harness.report.page import render_page

POLICIES = ("thompson", "static", "uniform", "greedy")


def _measured(**changed: Any) -> dict[str, Any]:
    row = {
        "operation": "read a memory",
        "memories": 1_000,
        "clients": 1,
        "before": {"per_second": 200.0},
        "after": {"per_second": 300.0},
    }
    return {"measured_at": "2026-01-31T08:15:00Z", "commit": "abc", "serving": [row], **changed}


def test_the_figures_of_the_services_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(_measured()))
    found = read_benchmarks(path)
    assert found is not None
    assert [(row.operation, row.ratio) for row in found.rows] == [("read a memory", 1.5)]


def test_the_other_figures_are_told_in_words_and_stand_without_the_services(
    tmp_path: Path,
) -> None:
    worlds = [
        {name: {"worth": worth} for name, worth in zip(POLICIES, (0.6, 0.5, 0.4, 0.3), strict=True)}
    ]
    share = {"all": {"precision": 1.0, "recall": 0.9, "labelled": 68}, "notes": 40}
    learning = {"blocks": 10_000, "per_second": 4_321.4, "again_ratio": 0.002}
    path = tmp_path / "bench.json"
    path.write_text(
        json.dumps(
            _measured(
                serving=[],
                vectors=[
                    {
                        "vectors": 1_000,
                        "search_ms": 0.5,
                        "scan_ms": 5,
                        "ratio": 10,
                        "recall": 0.999,
                    }
                ],
                routing=worlds,
                knowledge={"development": share, "held-out": share, "learning": learning},
            )
        )
    )
    found = read_benchmarks(path)
    assert found is not None
    assert found.rows == ()
    assert [figure.told for figure in found.figures] == [
        "0.50 ms, 10.0 times as fast as the exact scan (5.0 ms); recall@10 is 0.9990",
        "0.600 by thompson sampling; 0.500 by static choice, 0.400 by uniform choice,"
        " 0.300 by greedy choice",
        "precision 1.000, recall 0.900 of 68 labels",
        "precision 1.000, recall 0.900 of 68 labels",
        "4,321 a second; again, where nothing changed, 0.2 % of that time",
    ]


def test_what_moving_services_costs_is_told_beside_quiet_times(tmp_path: Path) -> None:
    figures = {
        f"{what}_{share}": milliseconds
        for what, milliseconds in (("gap_ms", 8.04), ("quiet_gap_ms", 2.5), ("locked_ms", 1.0))
        for share in ("median", "p99")
    }
    figures["written_per_s"] = 81.4
    moved = {"load": "200 a second", "holds": 36, "requests": 10_231, "failed": 0, **figures}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(_measured(serving=[], moves=[moved])))
    found = read_benchmarks(path)
    assert found is not None
    (figure,) = found.figures
    assert figure.what == "moving services 36 times, requests 200 a second"
    assert figure.told == (
        "nobody was answered for 8.0 ms (8 at the 99th percentile), at quiet times for 2.5 ms"
        " (2 at the 99th percentile); databases were locked for 1.0 ms (1 at the 99th percentile),"
        " with 81 writes a second; 0 of 10,231 requests failed"
    )


def test_the_page_shows_the_other_figures() -> None:
    page = render_page(as_document(gate()))
    assert "learning 10,000 memory blocks" in page
    assert "4,321 a second" in page


def test_no_file_and_no_measurement_of_services_is_nothing_to_show(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    assert read_benchmarks(path) is None
    path.write_text(json.dumps(_measured(serving=[])))
    assert read_benchmarks(path) is None


@pytest.mark.parametrize("text", ["{", "[]", json.dumps(_measured(serving=[{"memories": 1}]))])
def test_a_file_of_something_else_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"bench\.json is not .* measure again"):
        read_benchmarks(path)


def test_the_page_says_which_rows_are_slower_than_before() -> None:
    document = as_document(gate())
    assert document["benchmarks"]["slower"] == 1
    page = render_page(document)
    assert "1 row of 2 slower than before" in page
    assert "20.00 ×" in page
    assert "0.24 ×" in page
