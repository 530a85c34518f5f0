from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import report_inputs

from harness import report
from harness.errors import BadInputError, EnvironmentFaultError, InvariantError
from harness.model import CheckResult, Verdict
from harness.report import digests, words
from harness.report.document import as_document, plain
from harness.report.files import REPORT_FILES, write_atomically
from harness.report.junit import render_junit, xml_text
from harness.report.markdown import escape_markdown, render_markdown
from harness.report.model import (
    Campaign,
    FalseAlarms,
    MutantMatrix,
    ReportInput,
)
from harness.report.sarif import render_sarif


def parsed(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - the report's own


@pytest.fixture(params=list(report_inputs.INPUTS))
def any_input(request: pytest.FixtureRequest) -> ReportInput:
    return report_inputs.INPUTS[request.param]()


# --- the verdict -------------------------------------------------------------------------------


def test_nothing_at_all_is_unknown_and_never_valid() -> None:
    assert report_inputs.nothing().verdict is Verdict.UNKNOWN


def test_every_part_can_spoil_the_verdict() -> None:
    sound = report_inputs.gate()
    assert sound.verdict is Verdict.VALID
    claim = {"claim": "holds", "profile": "quick", "elapsed_s": 1.0}
    spoiled = [
        report_inputs.gate(survivor=True),
        report_inputs.gate(failing=True),
        replace(sound, crash_points=(replace(sound.crash_points[0], converged=False),)),
        replace(sound, campaigns=(Campaign(examples=5, failures=("make x",), **claim),)),
        replace(sound, false_alarms=FalseAlarms(fixtures=5, alarms=("make x",))),
    ]
    assert [run.verdict for run in spoiled] == [Verdict.INVALID] * 5
    unexamined = [
        replace(sound, mutants=MutantMatrix(checkers=(), mutants=())),
        replace(sound, campaigns=(Campaign(examples=0, **claim),)),
        replace(sound, false_alarms=FalseAlarms(fixtures=0)),
    ]
    assert [run.verdict for run in unexamined] == [Verdict.UNKNOWN] * 3


# --- report.json -------------------------------------------------------------------------------


def test_the_json_object_has_what_programs_rely_on(tmp_path: Path) -> None:
    document = report.load(report.write(report_inputs.broken(), tmp_path))
    assert document["verdict"] == "invalid"
    assert document["report"] == "report.html"
    assert document["examined"]["rows"] == {"root rows": 32, "legacy rows": 20, "log lines": 180}
    first = document["findings"][0]
    assert first["rule"] == "rows/value-changed"
    assert set(first) == {
        "rule", "severity", "database", "table", "key", "column", "expected", "actual",
        "cause", "replay", "run", "checker",
    }  # fmt: skip


def test_what_was_examined_is_summed_over_the_runs() -> None:
    document = as_document(report_inputs.gate())
    assert document["examined"]["rows"]["root rows"] == 31 * 32


def test_a_finding_without_a_replay_line_has_its_runs() -> None:
    document = as_document(report_inputs.broken())
    replays = {finding["rule"]: finding["replay"] for finding in document["findings"]}
    assert replays["integrity/old-orphan"] == "make scenario NAME=rehearsal"


def test_every_report_is_json_that_any_reader_takes(any_input: ReportInput) -> None:
    text = json.dumps(as_document(any_input), allow_nan=False)
    assert json.loads(text)["verdict"] == any_input.verdict


def test_what_json_cannot_say_is_written_out() -> None:
    value = {1: float("nan"), "b": b"\x00\xff", "path": Path("a"), "s": "\udcff", "t": (1, None)}
    assert plain(value) == {
        "1": "nan", "b": "X'00ff'", "path": "a", "s": "\\udcff", "t": [1, None],
    }  # fmt: skip
    with pytest.raises(InvariantError, match="object"):
        plain(object())


def test_two_things_of_one_name_are_a_bug_of_the_harness() -> None:
    run = report_inputs.rehearsal()
    with pytest.raises(InvariantError, match="run 'rehearsal' 2 times"):
        as_document(replace(run, runs=run.runs * 2))
    with pytest.raises(InvariantError, match="subject 'candidate' 2 times"):
        as_document(replace(run, subjects=run.subjects * 2))


# --- report.md and junit.xml -------------------------------------------------------------------


def test_markdown_shows_values_as_they_are() -> None:
    assert escape_markdown("a|b\n<x>*_`") == "a\\|b\\\\x0a&lt;x&gt;\\*\\_\\`"


def test_markdown_tables_keep_their_columns(any_input: ReportInput) -> None:
    for block in re.split(r"\n\s*\n", render_markdown(as_document(any_input))):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_the_summary_names_what_survived_and_how_to_see_a_fault_again() -> None:
    text = render_markdown(as_document(report_inputs.gate(survivor=True, failing=True)))
    assert "❌ Invalid" in text
    assert "survived: **stale-index**" in text
    assert "    make scenario NAME=b1" in text
    assert "Nobody vouches" in text or "nobody vouches" in text


def test_junit_is_xml_whatever_the_values(any_input: ReportInput) -> None:
    root = parsed(render_junit(as_document(any_input)))
    cases = root.findall("testsuite/testcase")
    assert int(root.attrib["tests"]) == len(cases)
    assert int(root.attrib["failures"]) == len(root.findall("testsuite/testcase/failure"))


def test_junit_has_one_case_for_each_run_and_checker() -> None:
    run = report_inputs.gate(failing=True, survivor=True)
    root = parsed(render_junit(as_document(run)))
    cases = {
        (case.attrib["classname"], case.attrib["name"]): case for case in root.iter("testcase")
    }
    assert len(cases) == 30 * 6 + 2 + 45 + 2 + 84
    assert cases["hazard-03", "rows"].find("failure") is not None
    assert cases["hazard-03", "schema"].find("error") is not None
    assert cases["hazard-04", "rows"].find("failure") is None
    assert cases["mutants", "stale-index"].find("failure") is not None


def test_a_run_that_fails_outside_of_its_checks_is_a_case_too() -> None:
    section = replace(report_inputs.section("alone"), verdict=Verdict.INVALID)
    run = replace(report_inputs.rehearsal(), runs=(section,))
    root = parsed(render_junit(as_document(run)))
    failed = [
        case.attrib["name"] for case in root.iter("testcase") if case.find("failure") is not None
    ]
    assert failed == ["run"]


def test_xml_has_no_control_characters() -> None:
    assert xml_text("a\x00\x1f\ud800\ufffe\tb") == "a\\x00\\x1f\\xd800\\xfffe\tb"


# --- report.sarif --------------------------------------------------------------------------------


def sarif(run: ReportInput) -> dict[str, Any]:
    (only,) = json.loads(render_sarif(as_document(run)))["runs"]
    return dict(only)


def test_a_sound_report_has_no_results_for_code_scanning() -> None:
    assert sarif(report_inputs.gate())["results"] == []


def test_code_scanning_gets_every_fault_errors_first_with_a_file_to_show_it_at() -> None:
    results = sarif(report_inputs.gate(survivor=True, failing=True))["results"]
    rules = Counter(result["ruleId"] for result in results)
    assert rules["gate/mutant-survived"] == 1
    assert rules["rows/value-changed"] >= 1
    assert rules["gate/nothing-examined"] == 1
    order = ["error", "warning", "note"]
    assert results == sorted(results, key=lambda result: order.index(result["level"]))
    for result in results:
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"]


def test_a_finding_is_shown_at_its_scenario_and_stays_the_same_finding() -> None:
    section = replace(
        report_inputs.section("s", [report_inputs.check("rows", report_inputs.lost_row())]),
        file="scenarios/hazards/s.yaml",
    )
    run = replace(report_inputs.rehearsal(), runs=(section,))
    (first,), (second,) = sarif(run)["results"], sarif(replace(run, finished_at="later"))["results"]
    place = first["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "scenarios/hazards/s.yaml"
    named = [{"fullyQualifiedName": "legacy.memory_blocks.content", "kind": "member"}]
    assert place["logicalLocations"] == named
    assert "The value was cut: b1" in first["message"]["text"]
    assert first["partialFingerprints"] == second["partialFingerprints"]


def test_code_scanning_is_told_what_was_too_much_for_it() -> None:
    many = [report_inputs.lost_row(str(number)) for number in range(5_003)]
    run = report_inputs.rehearsal(report_inputs.check("rows", *many))
    found = sarif(run)
    assert len(found["results"]) == 5_000
    (note,) = found["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "3 more results are in report.json"


# --- words -------------------------------------------------------------------------------------


def test_the_summary_line_tells_all_that_matters() -> None:
    line = words.summary_line(as_document(report_inputs.gate()), "reports/x/report.html")
    assert line == (
        "valid: 31 scenarios, 186 checks, 1,612 rows and 5,580 log lines proven,"
        " 45/45 mutants caught, 84/84 crash points converged, 200 generated databases,"
        " 0/500 false alarms;"
        " report: reports/x/report.html (throw-away key: nobody vouches for it)"
    )


def test_the_summary_line_counts_what_services_were_asked() -> None:
    asked = {"costs requests": 1_200, "refusals that changed nothing": 300}
    wrote = {"costs acknowledged writes": 50, "unacknowledged writes": 3, "kills": 4}
    run = report_inputs.rehearsal(
        CheckResult.judged("api", (), asked, verifies="v", does_not_verify="n"),
        CheckResult.judged("durability", (), wrote, verifies="v", does_not_verify="n"),
    )
    assert "1,253 requests to services" in words.summary_line(as_document(run))


def test_rows_that_failed_are_examined_and_not_proven() -> None:
    line = words.summary_line(as_document(report_inputs.broken()))
    assert line.startswith("invalid: 12 errors, 3 checks, 52 rows and 180 log lines examined;")


def test_an_unknown_report_says_what_was_blind() -> None:
    run = report_inputs.rehearsal(report_inputs.check("rows", examined=0))
    title, sentence = words.headline(as_document(run))
    assert title.startswith("Not proven")
    assert "Nothing was examined by the check rows." in sentence


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (1e-9, "under 0.1 %"), (0.99999, "over 99.9 %")],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert words.percent(share) == text


def test_durations_are_said_as_people_say_them() -> None:
    told = {0.0841: "84 ms", 2.34: "2.3 s", 65: "1 min 5 s", 1578: "26 min", 4330: "1 h 12 min"}
    assert {elapsed_s: words.seconds(elapsed_s) for elapsed_s in told} == told


# --- files -------------------------------------------------------------------------------------


def test_all_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    report.write(report_inputs.gate(), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == set(REPORT_FILES)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.mkdir()
    with pytest.raises(EnvironmentFaultError, match="cannot be written"):
        write_atomically(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFaultError, match="name another folder"):
        report.write(report_inputs.rehearsal(), tmp_path / "file")


def test_what_is_no_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        report.load(tmp_path)
    path = tmp_path / "report.json"
    path.write_text("{")
    with pytest.raises(BadInputError, match="is not JSON"):
        report.load(path)
    path.write_text('{"format": 99}')
    with pytest.raises(BadInputError, match="not a report of format 1"):
        report.load(path)


def test_a_trees_digest_is_that_of_its_sha256sum_lines(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c").write_bytes(b"1")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"3")
    files = digests.directory_files(tmp_path)
    assert list(files) == ["a/c", "b"]
    # sha256sum a/c b | sha256sum
    assert (
        digests.tree_digest(files)
        == "1611be2fb85a7252d10365b756eb80672d6e3c595d0dde461acb9342fc3fbd0c"
    )
    assert list(digests.directory_files(tmp_path, suffixes=[".pyc"])) == []


def test_a_name_with_a_line_break_is_refused() -> None:
    with pytest.raises(BadInputError, match="line break"):
        digests.lines_digest({"a\nb": "00"})
