"""Rewrites a configuration tree so that one database path is left in it: `./devflow.sqlite`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from devflow.migration.database import sync_directory

__all__ = ["configuration_files", "partial_of", "rewrite", "rewritten", "write_atomically"]

_PATTERNS = (".env*", "*.yml", "*.yaml", "*.json", "*.sh", "*.toml", "Dockerfile*")
_SKIPPED = {"backups", "node_modules", "logs", ".git", ".devflow-migration", ".venv"}
_SIZE_MAX = 1 << 20
_PARTIAL = ".devflow-partial"

_VARIABLE = re.compile(r"(?<![\w$])(\$\{)?(?:VECTOR_DB_PATH|VECTOR_DATABASE_PATH|DATABASE_PATH)\b")
_PATH = re.compile(r"(?<![\w./$~{}-])(?:[\w.$~{}-]*/)*(?:devflow|vector)\.sqlite(?![\w.-])")
_MOUNT = re.compile(r"""^(\s*-\s*)(["']?)[^\s:"']+:/data(?::\w+)?\2\s*$""")
_MAKE_DIRECTORY = re.compile(r"^(\s*mkdir\b(?:\s+-\w+)*)((?:\s+\S+)+)$")
_DATA_DIRECTORY = re.compile(r"^(?:\./)?data/?$")
_ASSIGNMENT = re.compile(r"^\s*(?:-\s*|export\s+)?DEVFLOW_DB_PATH\s*[=:]\s*\S+\s*$")
_THE_PATH = "./devflow.sqlite"
_MOUNTED = ".:/devflow"
_WORKING_DIRECTORY = "working_dir: /devflow"


def configuration_files(directory: Path, *, below: bool = True) -> Iterator[Path]:
    """Yield the tree's configuration files, by name; links and large files are none.

    Without `below`, those in `directory` itself.
    """
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if below and name not in _SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            if not any(path.match(pattern) for pattern in _PATTERNS) or path.is_symlink():
                continue
            if name.endswith(_PARTIAL):  # of a write that was cut off; `.env.*` would match it
                continue
            if path.stat().st_size <= _SIZE_MAX:
                yield path


def rewritten(content: bytes) -> bytes:
    """Return a configuration file's content with every database path made the one.

    A compose service whose data directory was mounted gets the DevFlow root mounted, and works
    in it, so that the one path means the same inside and outside of the container.
    """
    text = content.decode("utf-8", "surrogateescape")
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        new = _rewritten_line(body)
        if new != body and _repeats(new, lines):
            continue
        lines.append(new + line[len(body) :])
        if new != body and _MOUNT.match(body):
            _work_in_the_mount(lines)
    return "".join(lines).encode("utf-8", "surrogateescape")


def _rewritten_line(line: str) -> str:
    mount = _MOUNT.match(line)
    if mount:
        return f"{mount[1]}{mount[2]}{_MOUNTED}{mount[2]}"
    line = _VARIABLE.sub(lambda match: (match[1] or "") + "DEVFLOW_DB_PATH", line)
    line = _PATH.sub(_THE_PATH, line)
    made = _MAKE_DIRECTORY.match(line)
    if made:
        kept = [name for name in made[2].split() if not _DATA_DIRECTORY.match(name)]
        if len(kept) < len(made[2].split()):
            return " ".join([made[1], *kept]) if kept else ":"
    return line


def _repeats(line: str, earlier: list[str]) -> bool:
    """Return whether its block says a line already: one variable cannot be set twice there."""
    if not (_ASSIGNMENT.match(line) or _MOUNTED in line):
        return False
    indent = len(line) - len(line.lstrip())
    for other in reversed(earlier):
        body = other.rstrip("\r\n")
        if body.strip() and len(body) - len(body.lstrip()) < indent:
            return False
        if body.strip() == line.strip():
            return True
    return False


def _work_in_the_mount(lines: list[str]) -> None:
    """Put the working directory before the `volumes:` key of the service just rewritten."""
    for number in range(len(lines) - 1, -1, -1):
        body = lines[number].rstrip("\r\n")
        if body.strip() == "volumes:":
            indent = body[: len(body) - len(body.lstrip())]
            newline = lines[number][len(body) :]
            lines.insert(number, f"{indent}{_WORKING_DIRECTORY}{newline}")
            return


def rewrite(directory: Path) -> dict[str, int]:
    """Rewrite every configuration file of the tree in which that changes anything."""
    files = changed = 0
    for path in configuration_files(directory):
        files += 1
        content = path.read_bytes()
        new = rewritten(content)
        if new != content:
            write_atomically(path, new, mode=path.stat().st_mode & 0o7777)
            changed += 1
    return {"files": files, "changed": changed}


def partial_of(path: Path) -> Path:
    """Return where `write_atomically` writes what is to become `path`."""
    return path.with_name(path.name + _PARTIAL)


def write_atomically(path: Path, content: bytes, *, mode: int) -> None:
    """Replace `path` durably: its old content or its new one, never a part."""
    partial = partial_of(path)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.chmod(mode)
    partial.rename(path)
    sync_directory(path.parent)
