"""`harness approve` and `harness verify --policy`, as persons and programs call them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import approved_reports
import pytest
import report_inputs
from approved_reports import POLICY, Office

from harness import cli


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = approved_reports.make(tmp_path_factory.mktemp("approval") / "office")
    policy = copy.deepcopy(POLICY)  # the reports were made once, and the commands ask the clock
    policy["report"]["age_hours_max"] = policy["gate"]["age_hours_max"] = 1_000_000
    office.write_policy(policy)
    return office


@pytest.fixture
def office(pristine: Office, tmp_path: Path) -> Office:
    return pristine.copy_to(tmp_path / "office")


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def judged_by(office: Office) -> list[str | Path]:
    return ["--policy", office.policy, "--keys", office.keys, "--gate", office.gate]


def compared(office: Office) -> list[str | Path]:
    return ["--before", office.tree, "--candidate", office.candidate]


def approve(office: Office, person: str, *more: str | Path, role: str = "release-manager") -> int:
    key = ["--key", office.private(person), "--role", role, "--reason", "read  the page"]
    return run("approve", office.report, *key, *judged_by(office), *more)


def test_two_persons_approve_and_the_report_is_valid(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert approve(office, "ann", "--yes", *compared(office)) == 0
    said = capsys.readouterr().out
    assert "report     Rehearsal of devflow: valid, made 2026-01-02T03:04:09Z" in said
    assert "approver   Ann Archer as release-manager, key " in said
    assert "reason     read the page\n" in said
    assert "replaces" not in said
    assert "bound      before/data/vector.sqlite " in said
    assert "mind " not in said
    assert approve(office, "bob", "--yes") == 0
    assert "mind       The databases were not compared" in capsys.readouterr().out
    assert run("verify", office.report, *judged_by(office), *compared(office)) == 0
    assert "Approved by 2 release-managers (Ann Archer, Bob Baker)." in capsys.readouterr().out


def test_programs_get_one_object(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", office.report, *judged_by(office), "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"verdict", "findings", "examined", "approval"}
    assert said["findings"][0]["rule"] == "approval/missing"


def test_nothing_is_signed_until_somebody_says_yes(office: Office) -> None:
    words = [
        sys.executable, "-m", "harness", "approve", office.report, "--key", office.private("ann"),
        "--role", "release-manager", "--reason", "x", *judged_by(office),
    ]  # fmt: skip
    for answer, code, sentence in (("n\n", 2, "nothing was signed"), ("", 254, "say --yes")):
        told = subprocess.run(
            words, input=answer, capture_output=True, text=True, check=False, timeout=60
        )
        assert told.returncode == code
        assert "Sign this? [y/N]" in told.stdout
        assert sentence in told.stdout + told.stderr
        assert not (office.report / "approvals").exists()
    told = subprocess.run(
        words, input="y\n", capture_output=True, text=True, check=False, timeout=60
    )
    assert told.returncode == 0
    assert len(list((office.report / "approvals").glob("*.json"))) == 1


def test_a_report_that_the_policy_refuses_is_not_signed(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    approved_reports.write_gate(office, report_inputs.gate(survivor=True))
    assert approve(office, "ann", "--yes") == 1
    said = capsys.readouterr().out
    assert "error: 44 of 45 mutants were caught; the policy demands 100 %." in said
    assert "nothing was signed; invalid: " in said
    assert not (office.report / "approvals").exists()


def test_a_report_that_says_unknown_is_not_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = report_inputs.rehearsal(
        report_inputs.check("rows"), report_inputs.check("ledger", examined=0)
    )
    office = approved_reports.make(tmp_path / "office", unknown)
    policy = copy.deepcopy(POLICY)
    policy["report"] |= {"age_hours_max": 1_000_000, "checkers": {"rows": {"examined_min": 1}}}
    policy["gate"]["age_hours_max"] = 1_000_000
    office.write_policy(policy)
    assert approve(office, "ann", "--yes", *compared(office)) == 2
    assert "The report says unknown" in capsys.readouterr().out


REFUSED = {
    "a stranger": ("gate", "release-manager", "your approval would not count: the key of Conti"),
    "another role": ("ann", "data-owner", "the policy asks for no approval as 'data-owner'"),
    "a slip": ("ann", "release-manger", "did you mean 'release-manager'?"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_who_may_not_approve_is_told_before_anything_is_signed(
    office: Office, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    person, role, said = REFUSED[why]
    assert approve(office, person, "--yes", role=role) == 254
    assert said in capsys.readouterr().err


def test_a_key_that_nobody_knows_and_a_reason_of_no_words_are_refused(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.write_keys(ann=None)
    assert approve(office, "ann", "--yes") == 254
    assert "have its public half added" in capsys.readouterr().err
    assert approve(office, "bob", "--yes", "--reason", "  ") == 254
    assert "an approval needs a reason" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy"], "--policy goes with --keys"),
        (["--keys"], "--keys goes with --policy"),
        (["--used"], "--used goes with --policy and --keys"),
        (["--gate"], "--gate goes with --policy and --keys"),
        (["--run"], "--run goes with --policy and --keys"),
    ],
)
def test_half_of_what_belongs_together_is_refused(
    office: Office, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    files = {"--policy": office.policy, "--keys": office.keys}
    given = [part for name in options for part in (name, files.get(name, office.gate))]
    assert run("verify", office.report, *given) == 254
    assert said in capsys.readouterr().err


def test_there_is_no_way_to_force_anything(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "approve"):
        assert run(command, "x", "--force") == 254
        assert "--force" in capsys.readouterr().err
        assert run(command, "--help") == 0
        assert "force" not in capsys.readouterr().out


def test_who_approves_once_more_is_told_what_that_replaces(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert approve(office, "ann", "--yes", *compared(office)) == 0
    assert approve(office, "bob", "--yes", *compared(office)) == 0
    assert "replaces" not in capsys.readouterr().out
    assert approve(office, "bob", "--yes", *compared(office)) == 0
    said = capsys.readouterr().out
    assert "replaces   the approval that this key has signed in this role, and its reason" in said
