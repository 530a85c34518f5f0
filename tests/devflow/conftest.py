from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from devflow_tree import LegacyTree

_MEMORY = Path("/dev/shm")  # noqa: S108 - each test makes a directory of its own there
_ROOM = 1 << 30


def memory_folder() -> Path | None:
    """Return a file system in memory where there is room: a migration syncs at every step."""
    there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    return _MEMORY if there else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="devflow-", dir=memory_folder()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def module_path() -> Iterator[Path]:
    """A directory that a module's tests share."""
    with tempfile.TemporaryDirectory(prefix="devflow-", dir=memory_folder()) as name:
        yield Path(name)


@pytest.fixture
def tree(tmp_path: Path) -> LegacyTree:
    return LegacyTree.make(tmp_path / "devflow")


@pytest.fixture(autouse=True)
def _a_fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
