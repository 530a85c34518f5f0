"""The report's page, and that of its approvals, in a real browser, where there is one.

Alone, printed, by keyboard, read out, in light and in dark.

Without a browser each test says by a warning that no page was looked at.
"""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import approval_pages
import pypdf
import pytest
import report_inputs
import told_histories
from axe_playwright_python.sync_playwright import Axe
from browser import chromium
from playwright.sync_api import Browser, Page

from harness.report.document import as_document
from harness.report.model import ReportInput
from harness.report.page import render_page

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
CONTRAST_MIN = 4.5
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOCUSABLE = """() => [...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
    .filter((one) => one.checkVisibility({contentVisibilityAuto: true}))
    .map((one, number) => { one.dataset.number = number; return one.outerHTML.slice(0, 60); })"""
FOCUSED = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect();
    const style = getComputedStyle(one);
    return {number: Number(one.dataset.number), html: one.outerHTML.slice(0, 60),
        outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
        inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth};
}"""


def gate(*, failing: bool = False) -> ReportInput:
    """A gate with few runs and all sections.

    In one run clients felt a hold, and one of their requests failed.
    """
    run = report_inputs.gate(survivor=failing, failing=failing)
    assert run.mutants is not None
    names = tuple(f"checker-{number:02}" for number in range(13))
    few = replace(run.mutants, mutants=run.mutants.mutants[-3:], checkers=names)
    wide = report_inputs.section("all-checkers", [report_inputs.check(name) for name in names])
    felt = told_histories.section("there-and-back")
    return replace(run, runs=(*run.runs[2:5], wide, felt), mutants=few)


REPORTS: dict[str, Callable[[], ReportInput]] = {
    "rehearsal": report_inputs.rehearsal,
    "gate": gate,
    "failing gate": lambda: gate(failing=True),
    "broken": report_inputs.broken,
    "hostile": report_inputs.hostile,
    "nothing": report_inputs.nothing,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser | None]:
    with chromium() as found:
        yield found


APPROVALS = tuple(f"approvals, {name}" for name in approval_pages.SITUATIONS)


@pytest.fixture(scope="module")
def approvals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return approval_pages.make(tmp_path_factory.mktemp("approvals"))


@pytest.fixture(params=[*REPORTS, *APPROVALS])
def path(request: pytest.FixtureRequest, tmp_path: Path, approvals: dict[str, str]) -> Path:
    """A page as it lies in a report's folder, or below it."""
    page = tmp_path / "report.html"
    if request.param in REPORTS:
        page.write_text(render_page(as_document(REPORTS[request.param]())), encoding="utf-8")
    else:
        page = tmp_path / "approvals.html"
        page.write_text(approvals[request.param.partition(", ")[2]], encoding="utf-8")
    return page


def opened(browser: Browser, path: Path, **options: Any) -> Page:
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    page.goto(path.as_uri())
    return page


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def sections(page: Page) -> list[str]:
    return page.locator("main > section > h2").all_inner_texts()


def test_the_page_opens_from_a_file_asks_for_nothing_and_complains_of_nothing(
    browser: Browser | None, path: Path
) -> None:
    if browser is None:
        return
    asked: list[str] = []
    said: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        open_all(page)
        page.wait_for_load_state("networkidle")
        assert page.locator("h1").is_visible()
    assert asked == [path.as_uri()]
    assert said == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways_as_a_whole(
    browser: Browser | None, path: Path, width: int
) -> None:
    if browser is None:
        return
    with opened(browser, path, viewport={"width": width, "height": 800}) as page:
        open_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_printed_has_every_section_and_nothing_is_cut_off(
    browser: Browser | None, path: Path
) -> None:
    if browser is None:
        return
    with opened(browser, path) as page:
        wanted = sections(page)
        page.emulate_media(media="print")
        # A4 without its margins, at 96 dots an inch.
        page.set_viewport_size({"width": 688, "height": 1000})
        wide = page.evaluate(
            """[...document.querySelectorAll('main *')]
            .filter((one) => one.checkVisibility() && !one.closest('.unseen')
                && one.getBoundingClientRect().right > innerWidth + 1)
            .map((one) => one.outerHTML.slice(0, 80))"""
        )
        assert wide == []
        page.emulate_media(media=None)
        printed = pypdf.PdfReader(
            io.BytesIO(page.pdf(format="A4", prefer_css_page_size=True, tagged=True, outline=True))
        )
    text = folded("".join(each.extract_text() for each in printed.pages))
    for title in wanted:
        assert folded(title) in text
    scope = "What a service makes of the rows."
    assert (folded(scope) in text) == (scope in path.read_text())
    assert [folded(title) for title in titles(printed.outline) if title] != []


def folded(text: str) -> str:
    """The letters alone: a PDF keeps no blanks, and a heading may be cut into two lines."""
    return re.sub(r"\W+", "", text).lower()


def titles(outline: Sequence[Any]) -> Iterator[str]:
    for one in outline:
        if isinstance(one, list):
            yield from titles(one)
        else:
            yield str(one.title)


def test_tab_reaches_all_that_can_be_used_in_order_and_shows_where_it_is(
    browser: Browser | None, path: Path
) -> None:
    if browser is None:
        return
    with opened(browser, path, reduced_motion="reduce") as page:
        wanted = page.evaluate(FOCUSABLE)
        reached = []
        for _ in wanted:
            page.keyboard.press("Tab")
            reached.append(page.evaluate(FOCUSED))
        assert [one["number"] for one in reached] == list(range(len(wanted)))
        assert [one["html"] for one in reached if one["outline"] < 2] == []
        assert [one["html"] for one in reached if not one["inView"]] == []


def test_the_keyboard_skips_to_the_report_and_opens_what_is_folded(
    browser: Browser | None, path: Path
) -> None:
    if browser is None:
        return
    with opened(browser, path) as page:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        folded_up = page.locator("details:not([open]) > summary")
        if folded_up.count():
            folded_up.first.focus()
            before = page.locator("details[open]").count()
            page.keyboard.press("Enter")
            assert page.locator("details[open]").count() == before + 1


def test_a_screen_reader_is_told_what_stands_there(browser: Browser | None, path: Path) -> None:
    """By the accessibility tree that the browser hands to readers, everything unfolded."""
    if browser is None:
        return
    with opened(browser, path) as page:
        open_all(page)
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        heard = [
            (node["role"]["value"], node.get("name", {}).get("value", "").strip())
            for node in nodes
            if not node["ignored"]
        ]
        levels = [int(tag[1]) for tag in page.locator(":is(h1,h2,h3,h4,h5,h6)").evaluate_all(
            "all => all.map((one) => one.tagName)")]  # fmt: skip
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert [role for role, _ in heard].count(landmark) == 1
    for role, name in heard:
        if role in ("image", "img", "table", "region", "link", "navigation", "DisclosureTriangle"):
            assert name, role
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_in_dark(
    browser: Browser | None, path: Path, scheme: str
) -> None:
    if browser is None:
        return
    with opened(browser, path, color_scheme=scheme) as page:
        open_all(page)
        texts = page.evaluate(CONTRAST)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert len(texts) > 20
        assert [one for one in texts if one["ratio"] < CONTRAST_MIN] == []
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128) == (scheme == "light")


def test_the_rules_of_web_accessibility_find_nothing(browser: Browser | None, path: Path) -> None:
    if browser is None:
        return
    with opened(browser, path) as page:
        open_all(page)
        # Contrast is reckoned in a test of its own, in light and in dark.
        tags = {"type": "tag", "values": RULES}
        options = {"runOnly": tags, "rules": {"color-contrast": {"enabled": False}}}
        came = Axe().run(page, options=options).response
    assert len(came["passes"]) > 15
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in came["violations"]] == []


def test_the_guides_pictures_of_a_gate_can_be_made_again(
    browser: Browser | None, tmp_path: Path
) -> None:
    """The parts that they show are still on the page; those of a rehearsal are tried elsewhere."""
    if browser is None:
        return
    path = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "make.py"
    spec = importlib.util.spec_from_file_location("pictures_make", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    run = replace(gate(), left_out=("3 slow scenarios",))
    (tmp_path / "report.html").write_text(render_page(as_document(run)), encoding="utf-8")
    made = module.take(browser, {"gate": tmp_path}, tmp_path)
    assert [one.name for one in made] == ["not-examined.png", "under-load.png"]
    assert all(one.stat().st_size > 5_000 for one in made)
