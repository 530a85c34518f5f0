"""Tells where the DevFlow root probably is, where an operator named a folder in it or above it.

Only names of files are looked at, and where they allow that the folder is a root, it is one: a root
may lack databases, be called `data`, or be half migrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devflow.migration.configuration import configuration_files

__all__ = ["is_set_up", "other_root", "probable_roots"]

_KEPT = (".devflow-migration", "backups/pre-unification")
_NAMED_MAX = 3


def other_root(directory: Path, paths: Mapping[str, str]) -> str | None:
    """Return what `directory` is and which root is meant, in words; None where it may be one.

    `directory` is absolute, `paths` are those of the databases and the log below a root.
    """
    data = Path(paths["legacy"]).parent
    if len(data.parts) != 1:
        return None  # a legacy database in the root itself, or far below, says nothing by its place
    if _is_data(directory, paths):
        return f"the folder {data} of a DevFlow tree, not its root, which is probably" + (
            f" {directory.parent}"
        )
    below = (paths["legacy"], paths["vector"])
    own = (paths["root"], paths["registry"], paths["vector"], *_KEPT)
    inner = directory / data
    if (
        (directory / paths["legacy"]).exists()
        and not _any(directory, *own)
        and not _configured(directory)
        and _any(inner, *below, paths["registry"])
    ):
        return f"the folder above a DevFlow tree, not its root, which is probably {inner}"
    return None


def probable_roots(directory: Path, paths: Mapping[str, str]) -> list[Path]:
    """Return the roots right above or below a folder without databases, a few at most."""
    databases = [paths[name] for name in ("root", "legacy", "vector")]
    for one in list(directory.parents)[:3]:
        if _any(one, *databases) and not _is_data(one, paths):
            return [one]
    try:
        below = sorted(one for one in directory.iterdir() if one.is_dir())
    except OSError:  # who may not list it is told of no root, and of what is wrong all the same
        return []
    return [one for one in below if _any(one, *databases)][:_NAMED_MAX]


def is_set_up(directory: Path, registry: str) -> bool:
    """Return whether a log or a configuration says that this is DevFlow's, as yet unused."""
    return (directory / registry).exists() or _configured(directory)


def _is_data(directory: Path, paths: Mapping[str, str]) -> bool:
    root = directory.parent
    below = (paths["legacy"], paths["vector"])
    if directory != root / Path(paths["legacy"]).parent or not _any(root, *below):
        return False
    if _any(directory, *below, *_KEPT) or is_set_up(directory, paths["registry"]):
        return False
    return _any(root, paths["root"], paths["registry"], paths["vector"])


def _configured(directory: Path) -> bool:
    return any(
        b"devflow.sqlite" in path.read_bytes()
        for path in configuration_files(directory, below=False)
    )


def _any(folder: Path, *places: str) -> bool:
    return any((folder / place).exists() for place in places)
