"""The page of approvals: what stands on it, what does not, and where it may be written."""

from __future__ import annotations

import re
from pathlib import Path

import approval_pages
import approved_reports
import pytest
from approved_reports import NOW, Office
from test_approval_command import approve, compared, judged_by, run
from test_report_page import Outline

from harness.approval.page import render_approvals


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return approval_pages.make(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = approved_reports.make(tmp_path_factory.mktemp("approvals") / "office")
    policy = {**approved_reports.POLICY}
    for part in ("report", "gate"):
        policy[part] = {**policy[part], "age_hours_max": 1_000_000}
    office.write_policy(policy)
    return office


@pytest.fixture
def office(pristine: Office, tmp_path: Path) -> Office:
    return pristine.copy_to(tmp_path / "office")


def text_of(page: str) -> str:
    return " ".join(" ".join(Outline(page).text).split())


@pytest.mark.parametrize("name", approval_pages.SITUATIONS)
def test_the_page_fetches_nothing_runs_nothing_and_says_that_it_is_a_view(
    pages: dict[str, str], name: str
) -> None:
    page = Outline(pages[name])
    policy = page.all("meta")[1]["content"]
    assert policy is not None and policy.startswith("default-src 'none'")
    assert not page.all("script") + page.all("img") + page.all("iframe")
    for _, attributes in page.tags:
        for attribute, value in attributes.items():
            assert not attribute.startswith("on")
            if attribute in ("href", "src"):
                assert value is not None and value.startswith(("#", "data:,"))
    text = text_of(pages[name])
    assert "This page is a view, and nothing signs it." in text
    assert "What counts is what harness verify says" in text


def test_who_approved_why_and_what_that_binds_stands_there(pages: dict[str, str]) -> None:
    text = text_of(pages["approved"])
    assert "This report may begin a cutover." in text
    assert "Ann Archer as release-manager ✓ counted 2026-01-02 03:30:00 UTC" in text
    assert text.count("rehearsed twice, and read the page") == 2
    assert "2 persons, not longer than 12 hours ago Ann Archer, Bob Baker ✓ fulfilled" in text
    assert "lacking" not in text
    assert "before/data/vector.sqlite The vector database as it was" in text
    for digest in re.findall(r"[0-9a-f]{64}", pages["approved"]):
        assert f'<code class="digest whole">{digest}</code>' in pages["approved"]


def test_what_is_lacking_is_told_with_its_demand(pages: dict[str, str]) -> None:
    text = text_of(pages["half approved"])
    assert "This report may not begin a cutover." in text
    lacking = "The policy asks for 2 approvals as release-manager; 1 of the 1 given counts."
    assert f"2 persons, not longer than 12 hours ago Ann Archer {lacking} ✗ lacking" in text
    refused = text_of(pages["refused"])
    assert "checker leaks valid, 1 examined at least not run The checker leaks" in refused
    assert "scenario hazard-03 valid valid ✓ fulfilled" in refused
    assert "scenario disk-full valid not played The scenario disk-full" in refused
    assert "0.5 hours at most made 2026-01-02T03:04:09Z The report was made at" in refused
    assert "Bob Baker as release-manager ✗ not counted" in refused
    assert "Why not: The approval release-manager-" in refused
    assert "was revoked at 2026-01-02T03:50:00Z (stolen)." in refused
    assert "scribble.json is damaged: it is no signed envelope." in refused
    assert "Nobody has approved yet." in text_of(pages["nobody"])


def test_every_demand_of_the_policy_is_on_the_page(pages: dict[str, str]) -> None:
    text = text_of(pages["approved"])
    for demanded in (
        "report's type", "report's kind", "report's profile", "report's signed by", "report's age",
        "checker rows", "checker ledger", "gate's report", "gate's candidate", "gate's mapping",
        "gate's report's signed by", "gate's report's age", "scenario hazard-03",
        "scenario hazard-04", "mutants", "approvals as release-manager",
    ):  # fmt: skip
        assert f" {demanded} " in text
    assert "demands fulfilled 17/17 " in text


def test_hostile_titles_reasons_and_owners_stay_text(pages: dict[str, str]) -> None:
    text = "".join(Outline(pages["hostile"]).text)
    assert text.count("<script>alert('x')</script>&amp;\"") >= 3
    assert "\\x00\\x1b[31m\\u202e" in text
    assert "<script" not in pages["hostile"]


def test_what_nobody_known_signed_is_not_shown_as_anybodys_word(
    office: Office,
) -> None:
    office.approve("ann")
    office.approve("bob", reason="said by nobody that is known")
    office.write_keys(bob=None)
    page = render_approvals(office.judge(), office.report, now=NOW)
    assert "said by nobody" not in page
    assert "was signed with a key that is not in the key file keys.yaml." in text_of(page)


def test_of_a_report_that_cannot_be_relied_on_nothing_is_shown(pages: dict[str, str]) -> None:
    text = text_of(pages["unreliable"])
    assert "report.html was changed after the report was signed." in text
    assert "Nothing in the report can be relied on" in text
    assert "Ann Archer" not in text
    assert "Rehearsal of devflow" not in text


def test_approving_writes_the_page_beside_and_it_is_no_approval(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    page = office.report / "approvals" / "approvals.html"
    for person, counting in (("ann", {"Ann Archer"}), ("bob", {"Ann Archer", "Bob Baker"})):
        assert approve(office, person, "--yes", *compared(office)) == 0
        assert f"page: {page}\n" in capsys.readouterr().out
        told = re.search("ago ((?:, |Ann Archer|Bob Baker)+) ", text_of(page.read_text("utf-8")))
        assert told and set(told[1].split(", ")) == counting  # at once, either may stand first
    page.write_text("anything")
    assert run("verify", office.report, *judged_by(office), *compared(office)) == 0


def test_verifying_writes_a_page_only_where_it_is_told_to(office: Office) -> None:
    page = office.root / "view" / "of-today.html"
    before = sorted(office.root.rglob("*"))
    assert run("verify", office.report, *judged_by(office)) == 1
    assert sorted(office.root.rglob("*")) == before
    assert run("verify", office.report, *judged_by(office), "--page", page) == 1
    assert "0 count." in page.read_text(encoding="utf-8")
    inside = office.report / "approvals" / "x.html"
    assert run("verify", office.report, *judged_by(office), "--page", inside) == 1
    assert inside.is_file()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("signed/report/report.html", "which is signed as it is; name a file elsewhere"),
        ("signed/report/evidence/x.html", "which is signed as it is"),
        ("gate/report.html", "which is signed as it is"),
        ("policy.yaml", "name a file that ends with .html"),
    ],
)
def test_a_page_stands_in_nothing_elses_place(
    office: Office, capsys: pytest.CaptureFixture[str], place: str, says: str
) -> None:
    path = office.root / place
    before = path.read_bytes() if path.exists() else None
    assert run("verify", office.report, *judged_by(office), "--page", path) == 254
    assert says in capsys.readouterr().err
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_page_without_a_policy_is_refused(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", office.report, "--page", office.root / "x.html") == 254
    assert "--page goes with --policy and --keys" in capsys.readouterr().err
