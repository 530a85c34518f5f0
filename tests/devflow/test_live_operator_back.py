"""A live way back to the backup tells where the later writes are."""

from __future__ import annotations

from pathlib import Path

import pytest
from devflow_tree import LegacyTree, values
from test_live_catching_up import lived_in, written
from test_live_steps import WRITES_AFTER, Gate, Moving

from devflow import operator
from devflow.live import control
from devflow.live.authority import SERVICES

__all__ = ["lived_in"]


@pytest.fixture
def moved(lived_in: LegacyTree, monkeypatch: pytest.MonkeyPatch) -> LegacyTree:
    """A tree that was moved live, then written to; the operator's gates are in this process."""
    monkeypatch.setattr(control, "GateControl", lambda name, _: Gate(name))
    Moving.of(lived_in).apply("validate")
    written(lived_in.root, *WRITES_AFTER)
    return lived_in


def back(
    capsys: pytest.CaptureFixture[str], tree: LegacyTree, *options: str
) -> tuple[int, str, str]:
    live = [f"--live={name}=1" for name in SERVICES]
    code = operator.main(["migrate", "rollback", str(tree.directory), *live, *options])
    said = capsys.readouterr()
    return code, said.out.splitlines()[-1] if said.out else "", said.err


def rows_in(file: Path) -> int:
    (row,) = values(file, "SELECT count(*) FROM kept")
    return int(str(row[0]))


@pytest.mark.parametrize("were_before", [0, 1])
def test_a_live_way_back_tells_the_file_and_how_many_rows_it_has(
    moved: LegacyTree, capsys: pytest.CaptureFixture[str], were_before: int
) -> None:
    folder = moved.directory / "backups" / "later-writes"
    file = folder / "later-writes.sqlite"
    if were_before:
        folder.mkdir()
        file.write_bytes(b"of an earlier way back")
        file = folder / "later-writes.1.sqlite"
    code, last, err = back(capsys, moved, "--to-backup")
    assert (code, err) == (0, "")
    assert last == f"{rows_in(file)} rows that were written since are in {file}"


def test_a_live_way_back_exports_to_the_file_that_is_named(
    moved: LegacyTree, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "new" / "writes.sqlite"
    code, last, err = back(capsys, moved, "--to-backup", f"--export={file}")
    assert (code, err) == (0, "")
    assert last == f"{rows_in(file)} rows that were written since are in {file}"
    assert not (moved.directory / "backups" / "later-writes").exists()


def test_a_live_way_back_without_later_writes_names_no_file(
    lived_in: LegacyTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "GateControl", lambda name, _: Gate(name))
    Moving.of(lived_in).apply("shadow")
    code, last, err = back(capsys, lived_in)
    assert (code, err) == (0, "")
    assert last == "rolled back: databases and configuration are what they were"
