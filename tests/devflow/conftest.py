from __future__ import annotations

from pathlib import Path

import pytest
from devflow_tree import LegacyTree


@pytest.fixture
def tree(tmp_path: Path) -> LegacyTree:
    return LegacyTree.make(tmp_path / "devflow")


@pytest.fixture(autouse=True)
def _a_fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
