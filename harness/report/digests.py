"""Digests of files and trees of files; those of databases are `harness.snapshot`'s."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import harness
from harness.errors import BadInputError

__all__ = ["directory_files", "file_digest", "harness_digest", "lines_digest", "tree_digest"]

_CHUNK_BYTES = 1 << 20
_DERIVED = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the file's bytes; BadInputError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); name a file that exists and is readable."
        ) from error
    return digest.hexdigest()


def lines_digest(digests: Mapping[str, str]) -> str:
    """Return one digest over many named ones: in-toto's `dirHash` of their `sha256sum` lines.

    Source: https://github.com/in-toto/attestation, spec/v1/digest_set.md.
    """
    ordered = sorted(digests.items(), key=lambda item: item[0].encode())
    for name, _ in ordered:
        if "\n" in name:
            raise BadInputError(f"A file's name holds a line break: {name!r}; rename it.")
    return hashlib.sha256("".join(f"{d}  {n}\n" for n, d in ordered).encode()).hexdigest()


def tree_digest(files: Mapping[str, Path]) -> str:
    """Return one digest over files by their names; it can be told apart by name and content."""
    return lines_digest({name: file_digest(path) for name, path in files.items()})


def directory_files(directory: Path, *, suffixes: Iterable[str] = ()) -> dict[str, Path]:
    """Return the regular files below `directory` by relative POSIX path, without derived ones.

    `suffixes` keeps only names with such an end; none keeps all.
    """
    wanted = tuple(suffixes)
    return {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and not any(part in _DERIVED for part in path.relative_to(directory).parts)
        and (not wanted or path.name.endswith(wanted))
    }


@cache
def harness_digest() -> str:
    """Return the digest of the harness's own files: a report names the build that made it.

    It is taken once: what runs is what was loaded, whatever becomes of the files meanwhile.
    """
    return tree_digest(directory_files(Path(harness.__file__).resolve().parent))
