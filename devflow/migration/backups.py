"""The three backups of a migration: each a DevFlow tree by itself, with a manifest of digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from devflow.migration.configuration import configuration_files, partial_of, write_atomically
from devflow.migration.database import (
    back_up,
    copy_database,
    open_source,
    open_writable,
    remove,
    sync_directory,
)
from devflow.migration.errors import MigrationError
from devflow.migration.tree import SOURCES, Tree

__all__ = ["MANIFEST", "back_up_tree", "manifest_of", "same_pages"]

MANIFEST = "backup.manifest"
_MANIFEST_KEYS = ("databases", "modes", "digests", "directories")
_CHANGE_COUNTERS = ((24, 28), (92, 100))  # header fields that count commits, not content


Clean = Callable[[apsw.Connection], int]
"""Takes out of a copy what is none of a source's own; returns how far it had noted writes."""


def back_up_tree(
    tree: Tree, when: str, *, keep_old: bool = False, clean: Clean | None = None
) -> dict[str, int]:
    """Copy databases, log, configuration and what else lies in `data/` into the backup `when`.

    The backup `after` holds what is to stay: the unified database, without `data/`.
    The directory appears complete or not at all. With `keep_old`, an older backup of other
    content is moved aside, never deleted. `clean` is run on each copied source.
    """
    target = tree.backup(when)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    manifest: dict[str, Any] = {"of": when, "databases": {}, "modes": {}, "digests": {}}
    manifest["directories"] = _directories(tree) if when != "after" else {}
    for name in SOURCES if when != "after" else ("root",):
        manifest["databases"][name] = _copy_source(tree, name, partial, manifest)
        if clean is not None and tree.state(name) == "sqlite":
            with closing(open_writable(partial / tree.paths[name])) as copy:
                manifest["databases"][name]["captured"] = clean(copy)
    if when == "during":
        copy_database(tree.shadow, partial / tree.shadow.name, name=str(tree.shadow))
    for path in _plain_files(tree, data=when != "after"):
        relative = path.relative_to(tree.directory)
        (partial / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, partial / relative)
        manifest["modes"][relative.as_posix()] = path.stat().st_mode & 0o7777
    for path in sorted(p for p in partial.rglob("*") if p.is_file()):
        manifest["digests"][path.relative_to(partial).as_posix()] = _digest(path)
    if when == "before":  # what is copied later was checked then, or is by its validation
        _verify(partial, manifest)
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    _sync(partial)
    _put_in_place(partial, target, keep_old=keep_old)
    return {"files": len(manifest["digests"])}


def manifest_of(backup: Path) -> dict[str, Any]:
    """Read a backup's manifest; raises `MigrationError` when it is not there or broken."""
    try:
        manifest = json.loads((backup / MANIFEST).read_text())
        return {key: dict(manifest[key]) for key in _MANIFEST_KEYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{backup / MANIFEST} cannot be read ({error}); restore the backup's directory"
        raise MigrationError("backup-broken", text, definite=False) from error


def _copy_source(
    tree: Tree, name: str, partial: Path, manifest: dict[str, Any]
) -> dict[str, str | int]:
    """Copy one database as its state demands: not at all, as zero bytes, or with its WAL."""
    state, path, copy = tree.state(name), tree.path(name), partial / tree.paths[name]
    if state == "missing":
        return {"state": state}
    manifest["modes"][tree.paths[name]] = path.stat().st_mode & 0o7777
    copy.parent.mkdir(parents=True, exist_ok=True)
    if state == "empty":
        copy.touch()
        return {"state": state}
    return {"state": state, "journal_mode": copy_database(path, copy, name=str(path))}


def _plain_files(tree: Tree, *, data: bool) -> Iterator[Path]:
    """Yield what a backup holds beside the databases."""
    yield from configuration_files(tree.directory)
    log = tree.path("registry")
    if log.is_file():
        yield log
    if data:
        yield from other_data_files(tree)


def other_data_files(tree: Tree) -> Iterator[Path]:
    """Yield the files of the data directory that are no database of ours, nor beside one."""
    databases = {tree.path(name) for name in SOURCES}
    sides = {p.with_name(p.name + side) for p in databases for side in ("-wal", "-shm", "-journal")}
    data = tree.path("legacy").parent
    if data == tree.directory or not data.is_dir():
        return
    listed = set(configuration_files(tree.directory))
    for path in sorted(data.rglob("*")):
        if path.is_file() and path not in databases | sides | listed:
            yield path


def _directories(tree: Tree) -> dict[str, int]:
    """Return the modes of the data directory and of those in it, the empty ones too."""
    data = tree.path("legacy").parent
    if data == tree.directory or not data.is_dir():
        return {}
    inside = (data, *sorted(path for path in data.rglob("*") if path.is_dir()))
    return {
        path.relative_to(tree.directory).as_posix(): path.stat().st_mode & 0o7777 for path in inside
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(partial: Path, manifest: dict[str, Any]) -> None:
    """Open each database of the backup, as a restore would, and have SQLite check it."""
    for relative in manifest["digests"]:
        if not relative.endswith(".sqlite") or not (partial / relative).stat().st_size:
            continue
        with closing(open_source(partial / relative, immutable=True)) as connection:
            answers = connection.execute("PRAGMA quick_check(1)").fetchall()
        if answers != [("ok",)]:
            text = f"{relative} is damaged ({answers[0][0]}); repair it before migrating"
            raise MigrationError("damaged", text)


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_directory(path)
    sync_directory(directory)


def _put_in_place(partial: Path, target: Path, *, keep_old: bool) -> None:
    if target.exists() and keep_old and not _same_backup(partial, target):
        number = 1
        while target.with_name(f"{target.name}.{number}").exists():
            number += 1
        target.rename(target.with_name(f"{target.name}.{number}"))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync_directory(target.parent)
    sync_directory(target.parent.parent)


def _same_backup(one: Path, other: Path) -> bool:
    """Return whether two backups hold the same files, databases compared by their pages."""
    names = {p.relative_to(one) for p in one.rglob("*") if p.is_file()}
    if names != {p.relative_to(other) for p in other.rglob("*") if p.is_file()}:
        return False
    return all(same_pages(one / n, other / n) for n in names if n.name != MANIFEST)


def same_pages(one: Path, other: Path) -> bool:
    """Return whether two files are equal, but for the counters in a database's header."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        heads = [bytearray(file.read(100)) for file in (first, second)]
        for head in heads:
            for start, end in _CHANGE_COUNTERS if head.startswith(b"SQLite") else ():
                head[start:end] = bytes(end - start)
        if heads[0] != heads[1]:
            return False
        while block := first.read(1 << 20):
            if block != second.read(1 << 20):
                return False
    return True


def forget_partial(tree: Tree) -> None:
    """Remove what a backup that was cut off has left."""
    for when in ("before", "during", "after"):
        target = tree.backup(when)
        shutil.rmtree(target.with_name(target.name + ".partial"), ignore_errors=True)


def restore_database(tree: Tree, name: str) -> dict[str, int]:
    """Bring one database back to what the backup `before` says it was."""
    backup, path = tree.backup("before"), tree.path(name)
    manifest = manifest_of(backup)
    was = manifest["databases"][name]
    if was["state"] != "sqlite":
        remove(path)
        if was["state"] == "empty":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.chmod(manifest["modes"][tree.paths[name]])
        return {"databases": 0}
    _restore_pages(backup / tree.paths[name], path, was["journal_mode"])
    path.chmod(manifest["modes"][tree.paths[name]])
    return {"databases": 1}


def _restore_pages(copy: Path, path: Path, journal_mode: str) -> None:
    """Write the copy's pages over the database in one transaction of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(open_source(copy, immutable=True)) as reader:
        with closing(open_writable(path)) as writer:
            back_up(reader, writer, name=str(path))
        with closing(open_writable(path)) as writer:
            writer.execute(f"PRAGMA journal_mode = {journal_mode}").fetchall()


def restore_files(tree: Tree) -> dict[str, int]:
    """Bring back every plain file of the backup `before` that is gone or changed."""
    backup = tree.backup("before")
    manifest = manifest_of(backup)
    for relative in manifest["directories"]:
        (tree.directory / relative).mkdir(parents=True, exist_ok=True)
    restored = 0
    databases = {tree.paths[name] for name in SOURCES}
    for relative, mode in manifest["modes"].items():
        path = tree.directory / relative
        if relative in databases or relative == tree.paths["registry"]:
            continue
        content = (backup / relative).read_bytes()
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content, mode=mode)
            restored += 1
        path.chmod(mode)
        partial_of(path).unlink(missing_ok=True)
    for relative, mode in manifest["directories"].items():
        (tree.directory / relative).chmod(mode)
    return {"files": restored}
