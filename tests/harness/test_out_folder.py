"""The folder of a report: whose it may be, what is removed there, and when."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import apsw
import pytest
from small_candidate import MANIFEST, small_tree

from harness import cli
from harness.approval.statement import FOLDER
from harness.errors import BadInputError, EnvironmentFaultError, ExitCode
from harness.stage import claimed, cleared

APPROVAL = f"{FOLDER}/release-manager-0123456789ab.json"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def earlier_run(out: Path, *files: str) -> Path:
    with claimed(out):
        for name in ("report.json", *files):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("signed")
    return out


def commands(tmp_path: Path) -> dict[str, list[str | Path]]:
    """Each command that reports in a folder, on a tree that it can use."""
    tree = small_tree(tmp_path / "tree")
    story = tmp_path / "story.yaml"
    story.write_text(
        f"description: x\nfixture: {{copied: {tree}}}\ncandidate: {MANIFEST}\ncheckers: [rows]\n"
    )
    return {
        "rehearse": ["rehearse", "--source", tree, "--candidate", MANIFEST],
        "scenario": ["scenario", story],
        "audit": ["audit", "--before", tree, "--after", tree / "data" / "devflow.sqlite"],
        "gate": ["gate"],
    }


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInputError, match="name another folder with --out"), claimed(tmp_path):
        cleared(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_folder_of_an_earlier_run_is_made_anew(tmp_path: Path) -> None:
    out = earlier_run(tmp_path / "out", "run/before/devflow.sqlite")
    with claimed(out):
        cleared(out)
    assert [path.name for path in out.iterdir()] == [".migration-gate"]
    with claimed(out):
        assert out.is_dir()


@pytest.mark.parametrize("command", ["rehearse", "scenario", "audit", "gate"])
def test_an_approved_report_is_never_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = earlier_run(tmp_path / "out", APPROVAL)
    assert run(*commands(tmp_path)[command], "--out", out) == ExitCode.BAD_INPUT
    printed = capsys.readouterr().err
    assert "holds a report that was approved" in printed
    assert "name another folder with --out" in printed
    assert (out / APPROVAL).read_text() == (out / "report.json").read_text() == "signed"


def test_an_approved_report_further_below_is_not_removed_either(tmp_path: Path) -> None:
    out = earlier_run(tmp_path / "out")
    below = earlier_run(out / "again", APPROVAL)
    with pytest.raises(BadInputError, match="again holds a report that was approved"), claimed(out):
        cleared(out)
    assert (below / APPROVAL).is_file()


@pytest.mark.parametrize("broken", ["no database", "malformed", "no key", "no candidate"])
def test_what_is_refused_leaves_an_earlier_report_in_its_place(tmp_path: Path, broken: str) -> None:
    out = earlier_run(tmp_path / "out")
    given = commands(tmp_path)["rehearse"]
    database = tmp_path / "tree" / "data" / "devflow.sqlite"
    if broken == "no database":
        database.write_text("no database at all, only words\n" * 9)
    elif broken == "malformed":
        database.write_bytes(database.read_bytes()[:100] + b"\xff" * 8_000)
    elif broken == "no key":
        given += ["--key", tmp_path / "nope"]
    else:
        given[-1] = tmp_path / "nope.yaml"
    assert run(*given, "--out", out) == ExitCode.BAD_INPUT
    assert (out / "report.json").read_text() == "signed"
    assert sorted(path.name for path in out.iterdir()) == [".migration-gate", "report.json"]


@pytest.mark.parametrize("command", ["rehearse", "scenario", "audit", "gate"])
def test_a_key_that_cannot_be_used_is_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out, key = tmp_path / "out", tmp_path / "nope"
    assert run(*commands(tmp_path)[command], "--out", out, "--key", key) == ExitCode.BAD_INPUT
    assert "nope cannot be read" in capsys.readouterr().err.splitlines()[0]
    assert not out.exists()


def test_a_folder_that_another_run_uses_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, given = earlier_run(tmp_path / "out"), commands(tmp_path)["scenario"]
    with claimed(out):
        assert run(*given, "--out", out) == ExitCode.BAD_INPUT
    assert "in use by another run of the gate" in capsys.readouterr().err
    assert (out / "report.json").read_text() == "signed"
    assert run(*given, "--out", out) == ExitCode.VALID
    assert (out / "report.json").read_text() != "signed"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        shutil.Error([("a", "b", f"[Errno 28] {os.strerror(errno.ENOSPC)}: 'b'")]),
        apsw.FullError("database or disk is full"),
    ],
)
def test_a_full_disk_is_named_in_one_sentence(tmp_path: Path, error: Exception) -> None:
    out = tmp_path / "out"
    with pytest.raises(EnvironmentFaultError, match=f"the disk of {out} is full; "), claimed(out):
        raise error


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), claimed(tmp_path / "out"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
