"""The drawing of what clients felt: whole without colours, well-formed, and on the page."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
import report_inputs
from told_histories import written

from harness.checkers.downtime import check
from harness.history import History, Mark
from harness.report.document import as_document
from harness.report.page import render_page
from harness.report.timeline import draw_timeline

MS = 1_000_000
SVG = "{*}"


def felt(history: History) -> dict[str, Any]:
    told: dict[str, Any] = check(history).details["timeline"]
    return told


def busy(*, marks: tuple[Mark, ...] = (), failed: str = "ok") -> History:
    lines = [f"1 read a=- {n * 5}-{n * 5 + 3}" for n in range(100)]
    return written(*lines, f"2 read a=- 250-254 {failed}", marks=marks)


HELD = tuple(Mark(name, at * MS) for name, at in (("hold", 200), ("switch", 230), ("release", 231)))


def drawn(history: History) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(str(chart)) for chart in draw_timeline(felt(history), "t")]  # noqa: S314 - our own


def texts(chart: ElementTree.Element, name: str) -> list[str]:
    return [each.text or "" for each in chart.iter() if name in (each.get("class") or "").split()]


def test_a_drawing_says_in_words_what_it_shows() -> None:
    whole, close = drawn(busy(marks=HELD, failed="fail"))
    title, description = whole[0].text or "", whole[1].text or ""
    assert title == "The whole history"
    assert "100 answers" in description and "1 failures" in description
    assert "Marks: hold at 0.200 s, switch at 0.230 s, release at 0.231 s." in description
    assert whole.get("role") == "img"
    assert (whole.get("aria-labelledby") or "").split() == [whole[0].get("id"), whole[1].get("id")]
    assert close[0].text == "Around the hold at 0.2 s"


def test_each_phase_is_a_band_with_its_name() -> None:
    whole, _ = drawn(busy(marks=HELD))
    bands = [each for each in whole if (each.get("class") or "").startswith("band")]
    assert texts(whole, "phase") == ["hold", "switch", "release"]
    assert [(band[0].text or "").split()[0] for band in bands] == ["hold", "switch", "release"]
    for before, after in pairwise(bands):
        assert float(before.get("x") or 0) < float(after.get("x") or 0)


def test_names_of_phases_never_lie_on_each_other() -> None:
    marks = tuple(Mark(f"phase-{n}", (100 + n) * MS) for n in range(30))
    whole = drawn(busy(marks=marks))[0]
    named = [each for each in whole if each.get("class") == "phase"]
    places = sorted(
        (float(each.get("y") or 0), float(each.get("x") or 0), len(each.text or ""))
        for each in named
    )
    assert 0 < len(places) < 30
    for (y, x, letters), (other_y, other_x, _) in pairwise(places):
        assert y != other_y or x + 6 * letters <= other_x


def test_failures_are_drawn_where_they_were() -> None:
    whole = drawn(busy(failed="fail"))[0]
    (mark,) = [each for each in whole if each.get("class") == "failed"]
    assert mark[0].text == "1 failed at 0.25 s"
    assert not [each for each in drawn(busy())[0] if each.get("class") == "failed"]


def test_a_history_of_one_answer_and_one_of_none_are_drawn() -> None:
    assert len(drawn(written("1 read a=- 0-0"))) == 1
    assert len(drawn(written("1 read a=- 0-"))) == 1
    assert draw_timeline({}) == []


def test_hostile_names_stay_text() -> None:
    whole = drawn(busy(marks=(Mark('<script>&"', 100 * MS, "</svg>"),)))[0]
    assert texts(whole, "phase") == ['<script>&"']


@pytest.mark.parametrize("runs", [1, 2])
def test_the_page_shows_the_time_line_of_each_run_with_a_load(runs: int) -> None:
    given = report_inputs.INPUTS["rehearsal"]()
    section = replace(given.runs[0], results=(*given.runs[0].results, check(busy(marks=HELD))))
    sections = tuple(replace(section, name=f"run-{n}") for n in range(runs))
    page = render_page(as_document(replace(given, runs=sections)))
    assert 'href="#load"' in page
    ids = re.findall(r'id="(timeline-[^"]+)"', page)
    assert len(ids) == len(set(ids)) == 4 * runs
    assert "1 hold · gap" in page
    bare = render_page(as_document(given))
    assert 'href="#load"' not in bare
