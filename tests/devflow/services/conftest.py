"""Migrated databases for the services: built fixtures, really migrated, one copy a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from devflow.migration import phases
from devflow.migration.tree import Tree
from devflow.services.app import create_app
from devflow.services.catalogue import load
from devflow.services.settings import Settings
from harness.fixture.build import build
from harness.fixture.recipe import Recipe

Served = Callable[..., TestClient]


def _migrated(folder: Path, profile: str) -> Path:
    tree = folder / profile
    build(Recipe(profile=profile, seed=7), tree)
    phases.apply(Tree.at(tree), "cleanup", lambda _: None)
    return tree / "devflow.sqlite"


@pytest.fixture(scope="session")
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Databases by profile, migrated and at rest; nobody writes to them."""
    folder = tmp_path_factory.mktemp("migrated")
    return {profile: _migrated(folder, profile) for profile in ("empty", "as-planned", "real-like")}


@pytest.fixture
def database(migrated_once: dict[str, Path], tmp_path: Path) -> Path:
    """A migrated database that looks like a real one, for this test alone."""
    return Path(shutil.copyfile(migrated_once["real-like"], tmp_path / "devflow.sqlite"))


@pytest.fixture
def empty_database(migrated_once: dict[str, Path], tmp_path: Path) -> Path:
    """A migrated database without rows, for this test alone."""
    return Path(shutil.copyfile(migrated_once["empty"], tmp_path / "devflow.sqlite"))


@pytest.fixture
def served() -> Iterator[Served]:
    """Start a service in this process: `served("costs", database)` gives its client."""
    with ExitStack() as stack:

        def start(name: str, database: Path, **settings: object) -> TestClient:
            app = create_app(load(name), Settings(DEVFLOW_DB_PATH=database, **settings))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start
