from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from devflow_tree import LegacyTree, memory_folder


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
