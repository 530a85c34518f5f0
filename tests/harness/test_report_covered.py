"""What a signature covers stands on the report's page, in words, whole, with what to do next."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import approved_reports
import pytest
import report_inputs
from report_inputs import HOSTILE
from test_report_page import Outline

from harness import cli
from harness.report import load
from harness.report.covered import commands, meaning, settings, things
from harness.report.document import as_document
from harness.report.model import GitState, ReportInput, Vouching
from harness.report.page import render_page


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> approved_reports.Office:
    return approved_reports.make(tmp_path_factory.mktemp("covered") / "office")


def said(run: ReportInput) -> dict[str, tuple[str, str]]:
    return {one.term: (one.value, one.means) for one in settings(as_document(run))}


def test_every_digest_that_is_signed_stands_on_the_page_whole_and_with_its_meaning(
    office: approved_reports.Office,
) -> None:
    document = load(office.report)
    page = (office.report / "report.html").read_text(encoding="utf-8")
    assert len(document["subjects"]) >= 8
    for thing in things(document):
        assert f'<code class="digest whole">{thing.digest}</code>' in page
        assert thing.means
        assert thing.means in " ".join(Outline(page).text)
    names = {thing.name for thing in things(document)}
    assert {"before", "before/devflow.sqlite", "candidate", "mapping", "harness", "ledger"} <= names


def test_commit_versions_seeds_key_nonce_and_ends_are_told_in_words() -> None:
    run = replace(report_inputs.gate(), expires_at="2026-02-01T00:00:00Z", counter=7)
    told = said(run)
    assert told["Commit"][1] == "A clean checkout: what ran is what was committed."
    assert told["Expires"][0] == "2026-02-01T00:00:00Z"
    assert told["Mutants"][0] == "45 of 45 caught"
    assert told["Counter"][0] == "7"
    assert told["Nonce"][0] == "00" * 16
    assert {"harness", "python", "sqlite", "apsw", "Seed, fixture", "Key"} <= set(told)
    assert all(means for _, means in told.values())
    dirty = GitState(commit="0" * 40, clean=False)
    assert "in no commit" in said(replace(run, git=dirty))["Commit"][1]
    nowhere = said(replace(run, git=None, expires_at=None))
    assert nowhere["Commit"][0] == "not from a git checkout"
    assert nowhere["Expires"][0] == "not by itself"
    known = Vouching(key_id="c0ffee" * 10, throwaway=False)
    assert "Whose key signs" in said(replace(run, vouching=known))["Key"][1]


def test_a_thing_of_a_scenario_says_which() -> None:
    assert meaning("there-and-back:before/data/devflow.sqlite") == (
        "The legacy database as it was, of the Database Manager, in the scenario there-and-back."
    )
    assert meaning("unheard-of") == ""


def test_the_commands_of_the_page_verify_and_approve_this_very_report(
    office: approved_reports.Office,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = office.copy_to(tmp_path / "office")
    policy = {part: dict(said) if isinstance(said, dict) else said
              for part, said in approved_reports.POLICY.items()}  # fmt: skip
    policy["report"]["age_hours_max"] = 1_000_000
    del policy["gate"]
    mine.write_policy(policy)
    monkeypatch.chdir(mine.report)
    words = {
        "PUBLIC": mine.private("gate").with_name("gate-key.pub.pem"),
        "POLICY": mine.policy,
        "KEYS": mine.keys,
        "ROOT": mine.tree,
        "CANDIDATE": mine.candidate,
        "YOUR_KEY": mine.private("ann"),
        "ROLE": "release-manager",
    }
    codes = []
    for _, command in commands(load(mine.report)):
        given = [str(words.get(word, word)) for word in shlex.split(command)]
        if given[1] == "approve":
            given.append("--yes")
        with pytest.raises(SystemExit) as ended:
            cli.main(given[1:])
        codes.append(ended.value.code)
    assert codes == [0, 1, 0]  # genuine; not approved yet; approved by one
    assert "approved: approvals/release-manager-" in capsys.readouterr().out


def test_a_rehearsals_commands_name_the_tree_that_it_was_made_on() -> None:
    run = report_inputs.rehearsal()
    section = replace(run.runs[0], replay="harness rehearse --source '/srv/dev flow'")
    subjects = (*run.subjects, replace(run.subjects[0], name="before/devflow.sqlite"))
    document = as_document(replace(run, runs=(section,), subjects=subjects))
    assert "--before '/srv/dev flow' --candidate CANDIDATE" in commands(document)[1][1]
    broken = replace(section, replay="harness rehearse --source 'unfinished")
    document = as_document(replace(run, runs=(broken,), subjects=subjects))
    assert "--before ROOT" in commands(document)[1][1]


def test_what_a_gates_report_is_for_is_told() -> None:
    told = dict(commands(as_document(report_inputs.gate())))
    assert told["Approve a rehearsal with it beside"].endswith("--gate .")
    alone = commands(as_document(report_inputs.nothing()))
    assert alone[0] == (
        "See that nothing was changed, and whose key signed",
        "harness verify . --key PUBLIC",
    )


def test_hostile_names_of_what_is_bound_stay_text() -> None:
    run = report_inputs.rehearsal()
    section = replace(run.runs[0], replay=f"harness rehearse --source {shlex.quote(HOSTILE)}")
    subjects = (replace(run.subjects[0], name=f"before/{HOSTILE}"),)
    page = render_page(as_document(replace(run, runs=(section,), subjects=subjects)))
    assert "<script" not in page
    assert "<script>alert('x')</script>&amp;" in "".join(Outline(page).text)
