"""An operator migrates live and goes back, with an approval, by the documented commands."""

from __future__ import annotations

from pathlib import Path

import approved_tree
import httpx
import pytest
from approved_tree import ApprovedTree
from devflow_tree import values
from live_stage import Fronted, fronted, start

from devflow import operator
from harness import keys
from harness.approval import Asked, KeyRing, Policy, prepare
from harness.candidate import DEFAULT_MANIFEST
from harness.commands import rehearse_tree
from harness.verify import Given


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = operator.main(["migrate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def gates(found: dict[str, Fronted]) -> list[str]:
    return [f"--live={name}={one.gate.port}" for name, one in found.items()]


def approve_backup(approved: ApprovedTree) -> None:
    """Rehearse the backup `before`, which the live migration made, and have it approved."""
    backup = approved.tree.directory / "backups" / "pre-unification"
    report = approved.root / "live-rehearsal"
    rehearse_tree(backup, report, manifest=DEFAULT_MANIFEST, key=approved.private("gate"))
    for person in ("ann", "bob"):
        judged = prepare(
            report,
            Given(before=backup, candidate=DEFAULT_MANIFEST),
            Asked(policy=Policy.load(approved.policy), ring=KeyRing.load(approved.keys)),
            key=keys.load_private(approved.private(person)),
            role="release-manager",
            reason="the page is clean",
        )
        assert judged.statement is not None, judged.judged.result.findings
        judged.sign()


def remember(url: str, key: str) -> None:
    body = {"id": key, "content": f"text of {key}", "type": "note"}
    assert httpx.post(url + "/memory", json=body, timeout=20).status_code == 201


def test_an_operator_moves_services_live_and_takes_them_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    approved = approved_tree.make(tmp_path / "approved")
    tree = approved.tree
    capsys.readouterr()
    with fronted(tree, tmp_path, successors=False) as found:
        live, url = gates(found), found["database-manager"].url
        remember(url, "first")
        code, out, err = told(capsys, "apply", tree.directory, "--until", "shadow", *live)
        assert (code, err) == (0, "")
        assert out.endswith("shadow is done; next comes cutover\n")
        remember(url, "second")
        start([one.unified for one in found.values()])

        code, _, err = told(capsys, "apply", tree.directory, "--until", "validate", *live)
        assert code == 1
        assert "needs an approved report" in err
        # What was approved before the backup was made is for other data.
        stale = [*live, *approved.options]
        code, _, err = told(capsys, "apply", tree.directory, "--until", "validate", *stale)
        assert code == 1
        assert "not approved" in err
        assert found["database-manager"].gate.state()["side"] == "legacy"

        approve_backup(approved)
        approval = [*live, *approved.options, "--approval", approved.root / "live-rehearsal"]
        code, out, err = told(capsys, "apply", tree.directory, "--until", "validate", *approval)
        assert (code, err) == (0, ""), err
        assert {one.gate.state()["side"] for one in found.values()} == {"unified"}
        for key in ("first", "second"):
            assert httpx.get(f"{url}/memory/{key}").json()["content"] == f"text of {key}"
        remember(url, "third")

        code, out, err = told(capsys, "rollback", tree.directory, "--keep-writes", *live)
        assert (code, err) == (0, ""), err
        assert {one.gate.state()["side"] for one in found.values()} == {"legacy"}
        assert httpx.get(f"{url}/memory/third").json()["content"] == "text of third"
    kept = values(tree.path("legacy"), "SELECT id FROM memory_blocks ORDER BY id")
    assert kept == [("first",), ("second",), ("third",)]


@pytest.mark.parametrize(
    ("live", "says"),
    [
        (["--live=database-manager=x"], "names no port"),
        (["--live=database-manager=1"], "needs a gate for each"),
        (["--live=nobody=1"], "'nobody' is none"),
    ],
)
def test_wrong_gates_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], live: list[str], says: str
) -> None:
    code, out, err = told(capsys, "apply", tmp_path, "--until", "shadow", *live)
    assert (code, out) == (1, "")
    assert says in err
    assert len(err.splitlines()) == 1
