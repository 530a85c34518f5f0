"""Approvals: what is needed, who counts, and every attack on them, each with its sentence."""

from __future__ import annotations

from pathlib import Path

import approved_reports
import pytest
from approved_reports import Office, causes

from harness.model import Verdict


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return approved_reports.make(tmp_path_factory.mktemp("approval") / "office")


@pytest.fixture
def office(pristine: Office, tmp_path: Path) -> Office:
    return pristine.copy_to(tmp_path / "office")


def test_a_report_that_enough_persons_approved_is_valid(office: Office) -> None:
    office.approve("ann")
    office.approve("bob")
    judged = office.judge()
    assert causes(judged) == {}
    assert judged.result.verdict is Verdict.VALID
    assert judged.result.examined["approval"] == 2
    assert "Approved by 2 release-managers (Ann Archer, Bob Baker)." in str(judged.result.details["says"])
    said = judged.as_json()["approval"]
    assert (said["policy_version"], said["keys_version"], len(said["approvals"])) == (2, 5, 2)


def test_a_report_that_nobody_approved_is_refused(office: Office) -> None:
    assert causes(office.judge()) == {
        "missing": "The policy asks for 2 approvals as release-manager; 0 count."
    }


def test_one_approval_of_two_is_not_enough(office: Office) -> None:
    office.approve("ann")
    assert causes(office.judge()) == {
        "missing": "The policy asks for 2 approvals as release-manager; 1 of the 1 given counts."
    }
