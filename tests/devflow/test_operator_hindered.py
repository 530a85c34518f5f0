"""Whatever hinders the operator's command, its sentence and its exit code say what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from devflow_tree import LegacyTree, environment

from devflow import operator
from devflow.migration import backups, phases
from devflow.migration.errors import sqlite_says
from devflow.migration.tree import Tree
from harness.nemeses.meanwhile import small_disk


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = operator.main(["migrate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def migrate(*arguments: object, stdout: int, stderr: int | None = None) -> tuple[int, str]:
    """Run the command in a process of its own; return its exit code and what is on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "devflow", "migrate", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE if stderr is None else stderr,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    return done.returncode, done.stderr or ""


def closed_pipe() -> int:
    """Return the end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("nowhere", [closed_pipe, full_device])
def test_a_migration_goes_on_where_nobody_can_be_told(
    tree: LegacyTree, tmp_path: Path, nowhere: Callable[[], int]
) -> None:
    before = tree.copy(tmp_path / "before")
    stdout = nowhere()
    assert migrate("apply", tree.directory, "--until", "shadow", stdout=stdout) == (0, "")
    assert tree.status == "shadow"
    assert migrate("rollback", tree.directory, stdout=stdout) == (0, "")
    assert tree.status == "none"
    assert tree.state == before.state
    os.close(stdout)


@pytest.mark.parametrize("nowhere", [closed_pipe, full_device])
def test_a_refusal_that_nobody_hears_keeps_its_exit_code(
    tree: LegacyTree, nowhere: Callable[[], int]
) -> None:
    (tree.directory / "backups").write_text("in the way")
    stream = nowhere()
    code, _ = migrate(
        "apply", tree.directory, "--until", "shadow", stdout=stream, stderr=stream
    )  # fmt: skip
    os.close(stream)
    assert code == 3


@pytest.mark.parametrize("asked", ["plan", "status"])
def test_an_answer_that_cannot_be_written_is_one_sentence(tree: LegacyTree, asked: str) -> None:
    stdout = full_device()
    code, err = migrate(asked, tree.directory, stdout=stdout)
    os.close(stdout)
    assert code == 1
    assert err == "error: the answer could not be written: No space left on device\n"


def test_a_reader_that_has_enough_of_the_plan_is_no_failure(tree: LegacyTree) -> None:
    stdout = closed_pipe()
    assert migrate("plan", tree.directory, stdout=stdout) == (0, "")
    os.close(stdout)


def test_a_full_disk_is_named_there_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "small") as disk:
        if disk is None:  # nobody may mount here
            return
        tree = LegacyTree.make(disk / "devflow")
        before = tree.copy(tmp_path / "before")
        told(capsys, "apply", tree.directory, "--until", "shadow")
        rest = disk / "rest"
        with rest.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        code, _, err = told(capsys, "rollback", tree.directory)
        assert code in (1, 3)
        assert err.startswith("error: ")
        assert f"{tree.directory} is, 0 KiB are left: make room" in err
        rest.unlink()
        assert told(capsys, "rollback", tree.directory)[0] == 0
        assert tree.state == before.state


def test_a_copy_that_finds_the_disk_full_says_so(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise apsw.FullError("not an error")

    monkeypatch.setattr(backups, "copy_database", full)
    code, _, err = told(capsys, "apply", tree.directory, "--until", "shadow")
    assert code == 3
    assert err.startswith(f"error: SQLite refused: the disk is full; where {tree.directory} is, ")
    assert err.endswith(" KiB are left: make room, and run the same command again\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (apsw.FullError("not an error"), "the disk is full"),
        (apsw.IOError("not an error"), "the disk fails"),
        (apsw.CorruptError(""), "the database is damaged"),
        (apsw.MismatchError("not an error"), "MismatchError"),
        (apsw.SQLError("no such column: a"), "no such column: a"),
    ],
)
def test_where_sqlite_says_nothing_the_kind_of_its_error_does(error: apsw.Error, said: str) -> None:
    assert sqlite_says(error) == said


def test_a_file_system_error_without_a_file_names_the_tree(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phases, "apply", full)
    code, _, err = told(capsys, "apply", tree.directory, "--until", "shadow")
    assert (code, err) == (3, f"error: {tree.directory}: No space left on device\n")


@pytest.mark.parametrize("operation", ["plan", "apply", "status", "rollback"])
def test_a_folder_that_is_no_root_gives_no_comfort(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    until = ["--until", "shadow"] if operation == "apply" else []
    code, out, err = told(capsys, operation, tmp_path, *until)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path} is no DevFlow root: it has none of ")
    assert not list(tmp_path.iterdir())


def test_a_tree_that_lost_its_databases_to_a_migration_may_be_asked_and_rolled_back(
    tree: LegacyTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree.copy(tmp_path / "before")
    tree.apply("shadow")
    for path in tree.directory.iterdir():
        if path.name not in ("backups", ".devflow-migration"):
            path.rename(tmp_path / path.name)
    for name in ("devflow.sqlite", "data"):
        assert not (tree.directory / name).exists()
    said = "shadow is done; next comes cutover\n"
    assert told(capsys, "status", tree.directory)[:2] == (0, said)
    assert told(capsys, "rollback", tree.directory)[0] == 0
    assert before.path("legacy").exists()
    assert tree.path("legacy").exists()


@pytest.mark.parametrize("operation", ["plan", "apply", "status", "rollback"])
def test_a_path_that_is_no_text_is_one_sentence(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    odd = tree.directory.rename(os.fsdecode(os.fsencode(tree.directory) + b"\xff"))
    until = ["--until", "shadow"] if operation == "apply" else []
    code, out, err = told(capsys, operation, odd, *until)
    assert (code, out) == (1, "")
    assert err == f"error: {str(odd)!r} has bytes that are no UTF-8; rename it and retry\n"


def test_a_file_of_later_writes_whose_path_is_no_text_is_one_sentence(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.apply("validate")
    code, _, err = told(capsys, "replay", os.fsdecode(b"writes\xff"), tree.directory)
    assert code == 1
    assert "has bytes that are no UTF-8; rename it and retry" in err


def test_a_folder_is_no_file_of_later_writes(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.apply("validate")
    code, out, err = told(capsys, "replay", tree.directory, tree.directory)
    assert (code, out) == (1, "")
    assert err == f"error: {tree.directory} is a folder; name a file of writes in it\n"


def test_an_interruption_while_modules_are_loaded_is_one_sentence(
    tree: LegacyTree, tmp_path: Path
) -> None:
    # What is loaded first interrupts, as somebody would who presses Ctrl-C just then.
    early = tmp_path / "early"
    early.mkdir()
    (early / "click.py").write_text(
        # Who starts the tests in the background may have it ignored, by all that they start.
        "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"os.kill(os.getpid(), {int(signal.SIGINT)})\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "devflow", "migrate", "apply", str(tree.directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment(), "PYTHONPATH": f"{early}:{environment()['PYTHONPATH']}"},
    )
    assert done.returncode == 1
    assert done.stderr == "error: interrupted; run the same command again\n"


@pytest.mark.parametrize("named", [True, False])
def test_a_rollback_that_was_cut_off_is_run_again_by_the_same_command(
    tree: LegacyTree,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    before = tree.copy(tmp_path / "before")
    tree.apply("validate")
    tree.run("root", "INSERT INTO task_contexts (id, title) VALUES ('late', 'x')")
    file = tmp_path / "late.sqlite" if named else tree.directory / "backups" / "later-writes.sqlite"
    command = ["rollback", tree.directory, *(["--export", file] if named else [])]
    restore = backups.restore_database

    def cut_off(at: Tree, name: str) -> dict[str, int]:
        if name == "legacy":
            raise KeyboardInterrupt
        return restore(at, name)

    with monkeypatch.context() as patch:
        patch.setattr(backups, "restore_database", cut_off)
        assert told(capsys, *command)[0] == 3
    exported = file.read_bytes()
    code, out, err = told(capsys, *command)
    assert (code, err) == (0, "")
    last = f"what was written since may be in {file}, of the run that was cut off"
    assert out.splitlines()[-1] == last
    assert file.read_bytes() == exported
    assert tree.state == before.state


def test_a_file_that_is_there_is_not_written_over_by_an_export(
    tree: LegacyTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.apply("validate")
    file = tmp_path / "mine.sqlite"
    file.write_text("mine")
    code, _, err = told(capsys, "rollback", tree.directory, "--export", file)
    assert (code, err) == (
        1,
        f"error: {file} is there already; name another file for --export\n",
    )
    assert file.read_text() == "mine"
