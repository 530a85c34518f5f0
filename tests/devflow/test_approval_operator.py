"""A cutover by an operator needs an approved report, made for this tree, used once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import approved_tree
import pytest
import yaml
from approved_tree import POLICY, ApprovedTree
from devflow_tree import LegacyTree

from devflow import operator
from devflow.approval import Approved, Gatekeeper
from devflow.migration import phases
from devflow.migration.tree import Tree
from harness.approval.used import read_uses
from harness.candidate import DEFAULT_MANIFEST


@pytest.fixture(scope="module")
def pristine(module_path: Path) -> ApprovedTree:
    return approved_tree.make(module_path / "approved")


@pytest.fixture
def approved(pristine: ApprovedTree, tmp_path: Path) -> ApprovedTree:
    return pristine.copy_to(tmp_path / "approved")


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = operator.main(["migrate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


NEEDED = "error: a cutover needs an approved report; name it with --approval, and what judges it"


@pytest.mark.parametrize("until", ["cutover", "validate", "cleanup"])
def test_a_cutover_without_an_approved_report_is_refused_before_anything_happens(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], until: str
) -> None:
    before = tree.state
    code, out, err = told(capsys, "apply", tree.directory, "--until", until)
    assert (code, out) == (1, "")
    assert err.startswith(NEEDED)
    assert tree.state == before
    assert not (tree.directory / "backups").exists()


def test_the_shadow_needs_no_approval_and_what_follows_does(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "apply", tree.directory, "--until", "shadow")[0] == 0
    code, _, err = told(capsys, "apply", tree.directory)
    assert code == 1
    assert err.startswith(NEEDED)
    assert told(capsys, "rollback", tree.directory)[0] == 0


def test_an_approved_report_lets_one_cutover_begin_and_no_second(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    place = approved.tree.directory
    code, out, err = told(capsys, "apply", place, *approved.options)
    assert (code, err) == (0, "")
    assert out.endswith("migrated: every phase is done\n")
    (use,) = read_uses(approved.record)
    assert use.tree == str(place.resolve())
    code, out, _ = told(capsys, "apply", place)
    assert (code, out.splitlines()[-1]) == (0, "nothing to do: migrated: every phase is done")
    assert told(capsys, "rollback", place)[0] == 0
    code, _, err = told(capsys, "apply", place, *approved.options)
    assert code == 1
    assert f"the cutover is not approved:\n  - The report was used before, at {use.at}" in err


def test_a_new_report_lets_a_cutover_begin_again_after_a_rollback(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    place = approved.tree.directory
    assert told(capsys, "apply", place, "--until", "cutover", *approved.options)[0] == 0
    assert told(capsys, "rollback", place)[0] == 0
    approved.rehearse()
    approved.approve("ann", "bob")
    assert told(capsys, "apply", place, *approved.options)[0] == 0
    assert len(read_uses(approved.record)) == 2


def test_the_shadow_may_be_built_before_the_approval_is_used(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    place = approved.tree.directory
    assert told(capsys, "apply", place, "--until", "shadow")[0] == 0
    assert told(capsys, "apply", place, "--until", "cutover", *approved.options)[0] == 0
    assert told(capsys, "apply", place, *approved.options)[0] == 0
    assert len(read_uses(approved.record)) == 1


class _CutOffError(Exception):
    pass


def cut_off(approved: ApprovedTree, step: str) -> None:
    """Apply with the approval, and stop as soon as the step is told to be done or begun."""

    def tell(event: Mapping[str, object]) -> None:
        if event.get("step") == step:
            raise _CutOffError

    tree = Tree.at(approved.tree.directory)
    keeper = Gatekeeper(
        tree, Approved(report=approved.report, policy=approved.policy, keys=approved.keys)
    )
    with pytest.raises(_CutOffError):
        phases.apply(tree, "cleanup", tell, keeper.allow)


@pytest.mark.parametrize(
    "step", ["cutover.backup-during", "cutover.configuration", "cleanup.data", "cleanup.shadow"]
)
def test_an_approved_cutover_that_was_cut_off_goes_on_as_the_same_use(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    cut_off(approved, step)
    place = approved.tree.directory
    code, _, err = told(capsys, "apply", place)
    assert code == 1
    assert err.startswith(NEEDED)
    assert told(capsys, "apply", place, *approved.options)[0] == 0
    assert len(read_uses(approved.record)) == 1


def test_a_cutover_that_was_cut_off_goes_on_with_its_own_report_only(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = approved.copy_to(tmp_path / "other")
    other.rehearse()
    other.approve("ann", "bob")
    cut_off(approved, "cutover.configuration")
    code, _, err = told(
        capsys, "apply", approved.tree.directory, *other.options, "--used", approved.record
    )
    assert code == 1
    assert "This migration was begun with another report; go on with that one." in err
    assert told(capsys, "rollback", approved.tree.directory)[0] == 0


def test_a_rollback_that_was_cut_off_is_ended_and_the_cutover_asks_anew(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    place = approved.tree.directory
    assert told(capsys, "apply", place, *approved.options)[0] == 0

    def tell(event: Mapping[str, object]) -> None:
        if event["event"] == "step_done":
            raise _CutOffError

    with pytest.raises(_CutOffError):
        phases.rollback(Tree.at(place), tell)
    code, _, err = told(capsys, "apply", place, *approved.options)
    assert code == 3
    assert "The report was used before" in err
    assert phases.status(Tree.at(place)) == "shadow"


# --- each attack is refused by the operator's command, in the verifier's words


def _other_data(approved: ApprovedTree) -> None:
    approved.tree.insert("legacy", "task_contexts", id="late", title="written since")


def _tampered(approved: ApprovedTree) -> None:
    page = approved.report / "report.html"
    page.write_text(page.read_text().replace("valid", "valid!", 1))


def _one_approval(approved: ApprovedTree) -> None:
    next((approved.report / "approvals").glob("*.json")).unlink()


def _doubled(approved: ApprovedTree) -> None:
    first, second = sorted((approved.report / "approvals").glob("*.json"))
    second.write_bytes(first.read_bytes())


def _other_policy(approved: ApprovedTree) -> None:
    policy = {**POLICY, "approvals": {**POLICY["approvals"], "age_hours_max": 48}}
    approved.policy.write_text(yaml.safe_dump(policy))


def _fewer_signers(approved: ApprovedTree) -> None:
    policy = {**POLICY, "approvals": {"age_hours_max": 24, "required": {"release-manager": 1}}}
    approved.policy.write_text(yaml.safe_dump(policy))


def _stale(approved: ApprovedTree) -> None:
    approved.policy.write_text(
        yaml.safe_dump({**POLICY, "report": {**POLICY["report"], "age_hours_max": 1e-9}})
    )


def _revoked(approved: ApprovedTree) -> None:
    lost = {"revoked_at": "2026-01-01T00:00:00Z", "revoked_because": "lost"}
    approved.write_keys(bob=lost)


def _retired(approved: ApprovedTree) -> None:
    approved.write_keys(bob={"valid_until": "2020-02-01T00:00:00Z"})


def _unsigned(approved: ApprovedTree) -> None:
    (approved.report / "attestation.json").unlink()


def _mixed(approved: ApprovedTree) -> None:
    approvals = {p.name: p.read_bytes() for p in (approved.report / "approvals").glob("*.json")}
    approved.rehearse()
    (approved.report / "approvals").mkdir()
    for name, content in approvals.items():
        (approved.report / "approvals" / name).write_bytes(content)


ATTACKS: dict[str, tuple[Callable[[ApprovedTree], None], str]] = {
    "other data": (_other_data, "The databases before the migration are not the ones that the"),
    "tampering": (_tampered, "report.html was changed after the report was signed."),
    "a missing signature": (_one_approval, "2 approvals as release-manager; 1 of the 1 given"),
    "a doubled signature": (_doubled, "a key counts once."),
    "another policy": (_other_policy, "was given under another policy (version 1)"),
    "a downgraded policy": (_fewer_signers, "was given under another policy (version 1)"),
    "a stale report": (_stale, "the policy takes none older than 1e-09 hours."),
    "a revoked key": (_revoked, "the key of bob was revoked at 2026-01-01T00:00:00Z (lost)."),
    "a retired key": (_retired, "the key of bob was retired at 2020-02-01T00:00:00Z, before it"),
    "no attestation": (_unsigned, "The report is not signed: there is no attestation.json."),
    "mixed parts": (_mixed, "is of another report: it names the attestation"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_changes_nothing(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str], attack: str
) -> None:
    spoil, sentence = ATTACKS[attack]
    spoil(approved)
    before = approved.tree.state
    code, out, err = told(capsys, "apply", approved.tree.directory, *approved.options)
    assert (code, out) == (1, "")
    assert sentence in err
    assert approved.tree.state == before
    assert not approved.record.exists()


def test_a_report_on_another_candidate_and_mapping_is_refused(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    other = approved.root / "other" / "devflow"
    shutil.copytree(DEFAULT_MANIFEST.parent, other)
    with (other / "mapping.yaml").open("a") as file:
        file.write("# another one\n")
    approved.rehearse(manifest=other / "candidate.yaml")
    code, _, err = told(capsys, "apply", approved.tree.directory, *approved.options)
    assert code == 1
    assert "The candidate is another one than the report speaks of (candidate)." in err
    assert "The mapping is not the one that the report was made with (mapping)." in err


@pytest.mark.parametrize("option", ["--approval", "--policy", "--keys", "--gate", "--used"])
def test_half_of_an_approval_is_a_bad_command_line(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    code, _, err = told(capsys, "apply", tree.directory, option, "x")
    assert (code, err) == (1, "error: --approval, --policy and --keys go together\n")


def test_files_that_are_not_there_are_told(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    approved.policy.unlink()
    code, _, err = told(capsys, "apply", approved.tree.directory, *approved.options)
    assert code == 1
    assert err.startswith("error: the approval cannot be judged: the policy ")


def test_there_is_no_option_to_force_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, "apply", "--force")
    assert code == 1
    assert "--force" in err
    assert told(capsys, "apply", "--help")[1].count("force") == 0


def test_a_failure_on_the_way_is_exit_3(
    approved: ApprovedTree, capsys: pytest.CaptureFixture[str]
) -> None:
    place = approved.tree.directory
    cut_off(approved, "cutover.backup-during")
    approved.tree.run("legacy", "CREATE TABLE late (a)")
    code, _, err = told(capsys, "apply", place, *approved.options)
    assert code == 3
    assert "was written to after its backup" in err
