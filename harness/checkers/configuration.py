"""The configuration checker: one database path is left in the tree, and nothing else changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from harness.checkers.evidence import Evidence
from harness.model import CheckResult, Finding, Severity

__all__ = ["check", "is_configuration"]

_VERIFIES: Final = (
    "Each configuration file of the tree that was there is there still, with its permissions and"
    " line ends, and parses where it did (JSON, YAML); no line assigns another variable, names"
    " another database file, mounts or makes a data directory; where a database path stood, the"
    " one path stands; no line that did not speak of databases changed; the data directory is gone."
)
_DOES_NOT_VERIFY: Final = (
    "Whether the services start with it (their source code may hold paths of its own); files of"
    " other kinds than .env*, *.yml, *.yaml, *.json, *.toml, *.sh and Dockerfile*; files larger"
    " than 1 MiB and symbolic links."
)
_PATTERNS: Final = (".env*", "*.yml", "*.yaml", "*.json", "*.sh", "*.toml", "Dockerfile*")
_ELSEWHERE: Final = frozenset(
    {"backups", ".devflow-migration", ".git", "node_modules", "logs", ".venv"}
)
_BYTES_MAX: Final = 2**20
_THE_PATH: Final = "./devflow.sqlite"

_FILE: Final = re.compile(r"[\w.$~{}/-]*(?:devflow|vector)\.sqlite(?![\w.-])")
_OTHER_VARIABLE: Final = re.compile(
    r"(?<!\w)(?:VECTOR_DB_PATH|(?:\w+_)?DATABASE_PATH)[\"']?\s*[=:]"
)
_VALUE: Final = re.compile(r"DEVFLOW_DB_PATH[\"']?\s*[=:]\s*(\S+)")
_DATA: Final = re.compile(r"(?:^|[\s\"'=:,(])\.?/data(?:[/:\"'\s]|$)|(?:^|[\s\"'=,(])\./data\b")
_MAKES_DATA: Final = re.compile(
    r"\bmkdir\b[^#;&|]*\s[\"']?(?:\./|\$\w+/|\$\{\w+\}/)?data/?[\"']?(?:\s|$)"
)
_SPEAKS: Final = re.compile(r"DATABASE_PATH|DB_PATH|\.sqlite|(?<!\w)data(?!\w)|_data\b|/devflow\b")


@dataclass(slots=True)
class _Work:
    """What one run of the checker gathers."""

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    lines: int = 0
    rewritten: list[str] = field(default_factory=list)

    def fault(
        self,
        rule: str,
        cause: str,
        *,
        file: str,
        severity: Severity = Severity.ERROR,
        expected: str | None = None,
        actual: str | None = None,
    ) -> None:
        self.findings.append(
            Finding(
                rule=f"configuration/{rule}",
                cause=cause,
                severity=severity,
                key=file,
                expected=expected,
                actual=actual,
            )
        )


def check(evidence: Evidence) -> CheckResult:
    """Judge the tree after `apply` against the tree before; without one: unknown."""
    work = _Work()
    examined: dict[str, int] = {}
    if evidence.tree is not None:
        before = dict(_files(evidence.before.directory))
        after = dict(_files(evidence.tree))
        for name, path in before.items():
            _file(work, name, path, after.get(name))
        for name, path in after.items():
            if name not in before:
                work.fault(
                    "file-added",
                    "a configuration file that was not there before",
                    file=name,
                    severity=Severity.WARNING,
                )
                _paths_left(work, name, _lines(path.read_bytes()))
        _data_directory(work, evidence.tree)
        examined = {
            "configuration files": work.files,
            "lines": work.lines,
            "data directory": 1,
        }
    return CheckResult.judged(
        "configuration",
        work.findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details={"files rewritten": work.rewritten},
    )


def is_configuration(name: str) -> bool:
    """Whether a relative posix path names a configuration file of the tree."""
    path = PurePosixPath(name)
    return not (_ELSEWHERE & set(path.parts[:-1])) and any(
        fnmatch(path.name, pattern) for pattern in _PATTERNS
    )


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not is_configuration(name) or path.is_symlink() or not path.is_file():
            continue
        if name.startswith("data/"):  # goes with the data directory; the backups hold it
            continue
        if path.stat().st_size <= _BYTES_MAX:
            yield name, path


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "surrogateescape").splitlines(keepends=True)


def _file(work: _Work, name: str, before: Path, after: Path | None) -> None:
    work.files += 1
    if after is None:
        work.fault("file-lost", "the configuration file is gone", file=name)
        return
    was, now = _lines(before.read_bytes()), _lines(after.read_bytes())
    work.lines += len(now)
    _paths_left(work, name, now)
    if was != now:
        work.rewritten.append(name)
        _other_lines(work, name, was, now)
        _line_ends(work, name, was, now)
        _parses(work, name, "".join(was), "".join(now))
    if any(_FILE.search(line) for line in was) and not any(_THE_PATH in line for line in now):
        cause = f"it named a database, and does not name {_THE_PATH}"
        work.fault("path-missing", cause, file=name, expected=_THE_PATH)
    modes = [path.stat().st_mode & 0o7777 for path in (before, after)]
    if modes[0] != modes[1]:
        work.fault(
            "mode-changed",
            "the file has other permissions",
            file=name,
            expected=f"{modes[0]:o}",
            actual=f"{modes[1]:o}",
        )


def _paths_left(work: _Work, name: str, lines: list[str]) -> None:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        for problem in _problems(text):
            comment = text.startswith(("#", "//"))
            work.fault(
                "path-left",
                f"line {number} {problem}" + (" (in a comment)" if comment else ""),
                file=name,
                severity=Severity.WARNING if comment else Severity.ERROR,
                expected=_THE_PATH,
                actual=_shown(text),
            )


def _problems(text: str) -> Iterator[str]:
    for found in _FILE.findall(text):
        if found != _THE_PATH and not found.removeprefix("./").startswith("backups/"):
            yield f"names another database file, {_shown(found)}"
    if _OTHER_VARIABLE.search(text):
        yield "assigns a variable for a database path that is none any more"
    value = _VALUE.search(text)
    if value and _THE_PATH not in value[1] and not value[1].strip("\"',").startswith("$"):
        yield "sets DEVFLOW_DB_PATH to another path"
    if _DATA.search(text):
        yield "names or mounts the data directory"
    if _MAKES_DATA.search(text):
        yield "makes the data directory"


def _other_lines(work: _Work, name: str, was: list[str], now: list[str]) -> None:
    """Find lines that changed or came, though they neither speak of databases nor resemble one."""
    matcher = SequenceMatcher(None, was, now, autojunk=False)
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        gone, come = was[start:end], now[new_start:new_end]
        for line in gone:
            if not _SPEAKS.search(line):
                cause = f"line {start + 1} or one near it changed, but does not speak of a database"
                work.fault("line-changed", cause, file=name, expected=_shown(line))
        for line in come:
            plain = line.strip() in ("", ":")  # what a command that went away may leave
            if plain or _SPEAKS.search(line) or get_close_matches(line, gone, 1, 0.6):
                continue
            cause = f"line {new_start + 1} or one near it is new and does not speak of a database"
            work.fault("line-added", cause, file=name, actual=_shown(line))


def _line_ends(work: _Work, name: str, was: list[str], now: list[str]) -> None:
    ends = [{_end(line) for line in lines[:-1]} for lines in (was, now)]
    lasts = [_end(lines[-1]) if lines else "" for lines in (was, now)]
    if not ends[1] <= ends[0] | {lasts[0]} or (lasts[0] == "") != (lasts[1] == ""):
        work.fault(
            "line-ends-changed",
            "the file's lines end otherwise than before",
            file=name,
            expected=_shown(repr([*sorted(ends[0]), lasts[0]])),
            actual=_shown(repr([*sorted(ends[1]), lasts[1]])),
        )


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _parses(work: _Work, name: str, was: str, now: str) -> None:
    if _parse_problem(name, was) is None and (problem := _parse_problem(name, now)):
        work.fault("does-not-parse", f"the file parsed and does not any more: {problem}", file=name)


def _parse_problem(name: str, text: str) -> str | None:
    try:
        if name.endswith(".json"):
            json.loads(text)
        elif name.endswith((".yml", ".yaml")):
            list(yaml.safe_load_all(text))
    except (ValueError, yaml.YAMLError) as error:
        return " ".join(str(error).split())
    except RecursionError:
        return "it is nested too deeply"
    return None


def _data_directory(work: _Work, tree: Path) -> None:
    data = tree / "data"
    if data.exists() or data.is_symlink():
        held = [path.name for path in sorted(data.glob("*"))[:10]] if data.is_dir() else []
        work.fault(
            "data-left",
            "the data directory is still there",
            file="data",
            actual=", ".join(held) or "empty",
        )


def _shown(text: str) -> str:
    clean = text.rstrip("\r\n").encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= 200 else clean[:197] + "..."
