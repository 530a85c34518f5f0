from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import report_inputs

from harness.model import Severity, Verdict
from harness.report.document import as_document
from harness.report.markdown import render_markdown
from harness.report.model import (
    FalseAlarms,
    ReportInput,
    Step,
    Vouching,
)
from harness.report.page import figures, render_page, timeline, visible

VOID = {"meta", "link", "br", "hr", "img", "input", "rect", "circle", "path"}


class Outline(HTMLParser):
    """What a test wants to know of a page; it complains about tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: ReportInput) -> Outline:
    return Outline(render_page(as_document(run)))


@pytest.fixture(params=list(report_inputs.INPUTS))
def any_input(request: pytest.FixtureRequest) -> ReportInput:
    return report_inputs.INPUTS[request.param]()


def test_the_page_fetches_nothing_and_runs_nothing(any_input: ReportInput) -> None:
    page = page_of(any_input)
    policy = page.all("meta")[1]["content"]
    assert policy is not None and policy.startswith("default-src 'none'")
    assert not page.all("script") + page.all("img") + page.all("iframe")
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src"):
                assert value is not None and value.startswith(("#", "data:,"))


def test_hostile_values_stay_text() -> None:
    text = "".join(page_of(report_inputs.hostile()).text)
    assert "<script>alert('x')</script>&amp;\"\\x00\\x1b[31m\\u202e" in text


def test_code_in_a_sentence_is_shown_as_code_and_still_escaped() -> None:
    finding = replace(report_inputs.lost_row(), cause="`apply <b>` did `nothing")
    page = render_page(as_document(report_inputs.rehearsal(report_inputs.check("rows", finding))))
    assert "<code>apply &lt;b&gt;</code> did `nothing" in page


def test_a_phase_lies_within_its_command_on_the_time_line() -> None:
    steps = (
        Step(name="apply", elapsed_s=4.0),
        Step(name="a", phase="backup", elapsed_s=1.0),
        Step(name="b", phase="shadow", elapsed_s=1.0),
        Step(name="c", phase="shadow", elapsed_s=1.0),
        Step(name="rollback", elapsed_s=4.0),
    )
    run = replace(report_inputs.section(), steps=steps)
    document = as_document(replace(report_inputs.rehearsal(), runs=(run,)))
    rows = timeline(document["runs"][0]["steps"])
    assert [(row["name"], row["start"], row["share"]) for row in rows] == [
        ("apply", 0.0, 0.5),
        ("backup", 0.0, 0.125),
        ("shadow", 0.125, 0.25),
        ("rollback", 0.5, 0.5),
    ]


def test_a_checkers_figures_become_tables_whatever_their_shape() -> None:
    details = {
        "scalars": 1234,
        "flags": [1, "two"],
        "by class": {"lossy": 3},
        "by table": {"t": {"rows": 5, "changed": False}},
        "tables": [{"table": "a", "rows": 1}, {"table": "b", "note": None}],
        "deep": [[1], [{"a": 1}]],
        "empty": {},
    }
    tables = figures({"checker": "rows", "details": details})
    assert [(table["title"], list(table["heads"]), table["rows"]) for table in tables] == [
        ("", [], [("scalars", "1,234"), ("flags", "1, two")]),
        ("by class", [], [("lossy", "3")]),
        ("by table", ["", "rows", "changed"], [["t", "5", "no"]]),
        ("tables", ["table", "rows", "note"], [["a", "1", ""], ["b", "", ""]]),
    ]


def test_what_one_run_did_many_times_is_folded_away() -> None:
    judged = report_inputs.check("rows")
    rounds = [replace(judged, details={"by class": {"kept": number}}) for number in range(30)]
    run = report_inputs.rehearsal(*rounds)
    step = Step(name="apply", phase=None, elapsed_s=1.0)
    run = replace(run, runs=(replace(run.runs[0], steps=(step,) * 60),))
    page = page_of(run)
    text = " ".join(" ".join(page.text).split())
    for told in ("Figures of rows, 30 times", "Figures of rows, time 30", "60 commands and phases"):
        assert text.count(told) == 1
    once = " ".join(page_of(report_inputs.rehearsal(rounds[0])).text)
    assert "Figures of rows" in once
    assert "times" not in once
    assert "commands and phases" not in once


def test_the_verdict_comes_first_and_in_words() -> None:
    page = page_of(report_inputs.broken())
    text = " ".join(" ".join(page.text).split())
    assert text.index("Do not cut over") < text.index("Findings") < text.index("Checks")
    assert "12 errors found by the check rows" in text


def test_every_table_has_a_caption_and_every_header_a_scope(any_input: ReportInput) -> None:
    page = page_of(any_input)
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))


def test_the_page_has_its_landmarks_once(any_input: ReportInput) -> None:
    page = page_of(any_input)
    for tag in ("main", "nav", "h1", "footer"):
        assert len(page.all(tag)) == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"] for link in page.all("a")}
    assert {target for target in targets if target} <= {f"#{name}" for name in ids}
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(headings))


def test_every_chart_has_words_or_is_hidden(any_input: ReportInput) -> None:
    for chart in page_of(any_input).all("svg"):
        assert chart.get("aria-hidden") == "true" or (
            chart.get("role") == "img" and chart.get("aria-label")
        )


def test_the_page_says_who_vouches() -> None:
    run = report_inputs.rehearsal()
    nobody = " ".join(page_of(run).text)
    assert "Nobody vouches for this report." in nobody and "throw-away" in nobody
    somebody = replace(run, vouching=Vouching(key_id="c0ffee" * 10, throwaway=False))
    assert "Nobody vouches" not in " ".join(page_of(somebody).text)
    assert "not signed" in " ".join(page_of(replace(run, vouching=None)).text)


def test_what_spoils_the_verdict_beside_the_checks_comes_before_them() -> None:
    run = report_inputs.gate(survivor=True)
    point = replace(run.crash_points[0], converged=False, replay="make scenario NAME=crash")
    campaign = replace(run.campaigns[0], failures=("make scenario NAME=found-1",))
    alarms = FalseAlarms(fixtures=9, alarms=("make scenario NAME=alarm-1",))
    section = replace(
        run.runs[0], name="refusal", verdict=Verdict.INVALID, expectation="is refused", results=()
    )
    spoiled = replace(
        run,
        runs=(*run.runs, section),
        crash_points=(point,),
        campaigns=(campaign,),
        false_alarms=alarms,
    )
    text = " ".join(" ".join(page_of(spoiled).text).split())
    head = text[text.index("beside the checks") : text.index("Each checker reads")]
    for expected in (
        "5 faults",
        "harness mutants --only stale-index",
        "killed in backup/step-0",
        "make scenario NAME=crash",
        "make scenario NAME=found-1",
        "make scenario NAME=alarm-1",
        "refusal. It was expected that it is refused.",
    ):
        assert expected in head


def test_what_many_runs_note_alike_is_told_once() -> None:
    note = replace(report_inputs.lost_row(), severity=Severity.NOTE, cause="an old orphan")
    runs = [report_inputs.section(f"s{n}", [report_inputs.check("rows", note)]) for n in range(9)]
    text = " ".join(page_of(replace(report_inputs.gate(), runs=tuple(runs))).text)
    assert text.count("an old orphan") == 1
    assert "9 scenarios" in text


def test_a_cut_list_says_that_it_is_cut() -> None:
    findings = [report_inputs.lost_row(f"block-{number}") for number in range(250)]
    document = as_document(report_inputs.rehearsal(report_inputs.check("rows", *findings)))
    assert "The first 100 of 250 are shown" in render_page(document)
    assert "The first 20 of 250" in render_markdown(document)


def test_what_a_profile_left_out_is_told_wherever_people_look() -> None:
    run = replace(report_inputs.gate(), left_out=("3 slow scenarios", "900 examples"))
    document = as_document(run)
    assert "Left out in the quick profile:" in " ".join(" ".join(page_of(run).text).split())
    assert "- Left out: 3 slow scenarios." in render_markdown(document)
    assert document["left_out"] == ["3 slow scenarios", "900 examples"]


def test_a_check_that_was_made_twice_counts_by_its_worst() -> None:
    sound, lost = report_inputs.check("rows"), report_inputs.check("rows", report_inputs.lost_row())
    for results in ([sound, lost], [lost, sound]):
        runs = (report_inputs.section("twice", results), report_inputs.section("other", [sound]))
        page = render_page(as_document(replace(report_inputs.gate(), runs=runs)))
        cell = page[page.index('<a href="#run-1">') : page.index('<a href="#run-2">')]
        assert '<span class="mark invalid">' in cell
        assert '<span class="mark valid">' not in cell


def test_what_cannot_be_seen_is_written_out() -> None:
    assert visible("a\x00b\u202ec\nd") == "a\\x00b\\u202ec\nd"
    assert visible(7) == 7
