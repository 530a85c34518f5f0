"""What a policy demands of the report and of the gate's, each with its sentence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import approved_reports
import pytest
import report_inputs
from approved_reports import NOW, POLICY, Office, causes

from harness.approval import Judged, judge
from harness.errors import BadInputError
from harness.verify import Given


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return approved_reports.make(tmp_path_factory.mktemp("approval") / "office")


@pytest.fixture
def office(pristine: Office, tmp_path: Path) -> Office:
    return pristine.copy_to(tmp_path / "office")


def changed_policy(office: Office, **changes: dict[str, object]) -> Judged:
    """Judge by a policy of which the parts named are changed."""
    office.write_policy({k: {**v, **changes[k]} if k in changes else v for k, v in POLICY.items()})
    return office.judge()


DEMANDS: dict[str, tuple[dict[str, dict[str, object]], str]] = {
    "report-type": (
        {"report": {"types": ["https://example.org/other"]}},
        "The report has the type https://in-toto.io/attestation/test-result/v0.1; the policy takes"
        " https://example.org/other.",
    ),
    "kind": (
        {"report": {"kinds": ["audit", "gate"]}},
        "The report is of the kind rehearsal; the policy takes audit or gate.",
    ),
    "profile": (
        {"report": {"profiles": ["full"]}},
        "The report was made with the profile quick; the policy takes full.",
    ),
    "report-old": (
        {"report": {"age_hours_max": 0.5}},
        "The report was made at 2026-01-02T03:04:09Z; the policy takes none older than 0.5 hours.",
    ),
    "checker-missing": (
        {"report": {"checkers": {"leaks": {"examined_min": 1}}}},
        "The checker leaks, which the policy demands, was not run.",
    ),
    "examined": (
        {"report": {"checkers": {"rows": {"examined_min": 1000}}}},
        "The checker rows examined 232; the policy demands 1,000.",
    ),
    "scenario-missing": (
        {"gate": {"scenarios": ["hazard-99"]}},
        "The scenario hazard-99, which the policy demands, was not played.",
    ),
    "mutants-tried": (
        {"gate": {"mutants": {"tried_min": 60, "rate_min": 1.0}}},
        "45 mutants were tried; the policy demands 60.",
    ),
}


@pytest.mark.parametrize("rule", DEMANDS)
def test_each_demand_of_the_policy_has_its_sentence(office: Office, rule: str) -> None:
    changes, sentence = DEMANDS[rule]
    assert causes(changed_policy(office, **changes))[rule] == sentence


def test_a_gate_that_failed_is_refused_for_each_of_its_failures(office: Office) -> None:
    approved_reports.write_gate(office, report_inputs.gate(survivor=True, failing=True))
    said = causes(office.judge())
    assert said["says-invalid"].startswith("The gate's report: The report says invalid")
    assert said["scenario-failed"] == (
        "The scenario hazard-03, which the policy demands, came out invalid."
    )
    assert said["mutant-rate"] == "44 of 45 mutants were caught; the policy demands 100 %."


def test_a_gates_report_that_is_none_or_missing_or_changed_is_refused(office: Office) -> None:
    assert causes(office.judge(gate=None))["gate-missing"].startswith("The policy demands a report")
    assert causes(office.judge(gate=office.report))["gate-kind"] == (
        "What --gate names is a rehearsal, not a report of the gate."
    )
    (office.gate / "report.md").write_text("other")
    assert causes(office.judge())["changed-file"] == (
        "The gate's report: report.md was changed after the report was signed."
    )


def test_a_gate_of_another_candidate_is_mixed_with_this_report_in_vain(office: Office) -> None:
    candidate = office.candidate.parent
    (candidate / "migrate.py").write_text("print('other')")
    (candidate / "mapping.yaml").write_text("contract: 1\ntables: {a: {}}\n")
    approved_reports.write_gate(office, report_inputs.gate())
    said = causes(judge(office.report, Given(before=office.tree), office.asked(), now=NOW))
    assert said["gate-candidate"] == "The gate tried another candidate than the report speaks of."
    assert said["gate-mapping"] == "The gate tried another mapping than the report speaks of."


def test_a_checker_that_failed_is_named_and_the_report_with_it(tmp_path: Path) -> None:
    office = approved_reports.make(tmp_path / "office", report_inputs.broken())
    said = causes(office.judge())
    assert said["checker-failed"] == "The checker rows, which the policy demands, says invalid."
    assert {"says-invalid", "checker-missing"} <= set(said)


def test_a_report_that_the_wrong_key_signed_is_refused(office: Office) -> None:
    office.write_keys(gate={"roles": ["tester"]}, eve={"roles": ["gate"]})
    judged = office.judge()
    assert set(causes(judged)) == {"another-key"}
    assert judged.as_json()["approval"] is None
    office.write_keys(gate={"roles": ["tester"]})
    with pytest.raises(BadInputError, match="has no key with the role 'gate'"):
        office.judge()


@pytest.mark.parametrize("rule", ["revoked", "retired", "not-yet"])
def test_a_report_that_a_spent_key_signed_is_refused(office: Office, rule: str) -> None:
    times = {
        "revoked": {"revoked_at": "2026-01-03T00:00:00Z", "revoked_because": "leaked"},
        "retired": {"valid_until": "2026-01-02T03:00:00Z"},
        "not-yet": {"valid_from": "2026-01-02T04:00:00Z"},
    }
    office.write_keys(gate=times[rule])
    said = causes(office.judge())
    assert said[f"report-{rule}"].startswith("The gate's report does not count as signed: the key")


def test_a_report_of_the_future_is_refused(office: Office) -> None:
    said = causes(office.judge(now=NOW - timedelta(hours=2)))
    assert said["report-future"].endswith("which is yet to come; set the clocks right.")
