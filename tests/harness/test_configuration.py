from __future__ import annotations

from pathlib import Path

import pytest
from handmade import mapping, rules, tree

from harness.checkers import configuration
from harness.checkers.evidence import Evidence
from harness.model import CheckResult, Severity, Verdict
from harness.snapshot import Snapshot

ENV = "# Storage\nLOG_LEVEL=info\nDEVFLOW_DB_PATH=./data/devflow.sqlite\nVECTOR_DB_PATH=./data/v\n"
COMPOSE = (
    "services:\n  vector:\n    image: v\n    environment:\n"
    "      - DATABASE_PATH=/data/vector.sqlite\n    volumes:\n      - ./data:/data\n"
)
START = (
    '#!/bin/sh\nmkdir -p data logs\nDATABASE_PATH="./data/vector.sqlite" node server.js &\nwait\n'
)
CONFIG = '{"port": 3456, "database": {"path": "devflow.sqlite"}}\n'
BEFORE = {
    ".env.prod.example": ENV,
    "docker-compose.yml": COMPOSE,
    "devflow-start.sh": START,
    "ccr.config.json": CONFIG,
    "README.md": "See data/devflow.sqlite\n",
    "data/settings.json": "{}",
    "backups/old/docker-compose.yml": COMPOSE,
}
AFTER = {
    ".env.prod.example": "# Storage\nLOG_LEVEL=info\nDEVFLOW_DB_PATH=./devflow.sqlite\n",
    "docker-compose.yml": COMPOSE.replace("DATABASE_PATH=/data/vector", "DEVFLOW_DB_PATH=./devflow")
    .replace("./data:/data", ".:/devflow")
    .replace("    volumes", "    working_dir: /devflow\n    volumes"),
    "devflow-start.sh": START.replace("data logs", "logs").replace(
        'DATABASE_PATH="./data/vector.sqlite"', 'DEVFLOW_DB_PATH="./devflow.sqlite"'
    ),
    "ccr.config.json": CONFIG.replace("devflow.sqlite", "./devflow.sqlite"),
}


def check(
    directory: Path, *, before: dict[str, str] = BEFORE, after: dict[str, str] = AFTER
) -> CheckResult:
    was, now = tree(directory / "before", before), tree(directory / "tree", after)
    for path in (was, now):
        if (path / "devflow-start.sh").exists():
            (path / "devflow-start.sh").chmod(0o755)
    return configuration.check(
        Evidence(before=Snapshot.of(was), mapping=mapping(directory), tree=now)
    )


def test_a_tree_with_the_one_path_is_valid(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.findings == ()
    assert result.verdict is Verdict.VALID
    assert result.examined["configuration files"] == 4
    assert result.details["files rewritten"] == sorted(AFTER)


def test_a_tree_without_configuration_is_examined_for_its_data_directory(tmp_path: Path) -> None:
    result = check(tmp_path, before={}, after={})
    assert result.verdict is Verdict.VALID
    assert result.examined == {"configuration files": 0, "lines": 0, "data directory": 1}


def test_no_tree_is_unknown(tmp_path: Path) -> None:
    made = Evidence(before=Snapshot.of(tree(tmp_path / "before")), mapping=mapping(tmp_path))
    assert configuration.check(made).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("name", sorted(AFTER))
def test_a_file_left_as_it_was_is_found(tmp_path: Path, name: str) -> None:
    result = check(tmp_path, after={**AFTER, name: BEFORE[name]})
    assert "configuration/path-left" in rules(result)
    assert {finding.key for finding in result.findings} == {name}


@pytest.mark.parametrize(
    ("name", "was", "now", "rule"),
    [
        ("devflow-start.sh", "mkdir -p logs", "mkdir -p data logs", "path-left"),
        ("docker-compose.yml", ".:/devflow", "./data:/data", "path-left"),
        ("docker-compose.yml", ".:/devflow", "devflow_data:/data", "path-left"),
        (".env.prod.example", "=./devflow.sqlite", "=./unified.db", "path-left"),
        (".env.prod.example", "=./devflow.sqlite", "=/srv/devflow.sqlite", "path-left"),
        (".env.prod.example", "DEVFLOW_DB_PATH=./devflow.sqlite\n", "", "path-missing"),
        (".env.prod.example", "LOG_LEVEL=info", "LOG_LEVEL=debug", "line-changed"),
        (".env.prod.example", "LOG_LEVEL=info", "LOG_LEVEL=info\nMORE=1", "line-added"),
        (".env.prod.example", "\n", "\r\n", "line-ends-changed"),
        ("ccr.config.json", "}}", "}", "does-not-parse"),
        ("docker-compose.yml", "    image", "   image", "does-not-parse"),
    ],
)
def test_what_is_wrong_in_a_file_is_found(
    tmp_path: Path, name: str, was: str, now: str, rule: str
) -> None:
    assert was in AFTER[name]
    result = check(tmp_path, after={**AFTER, name: AFTER[name].replace(was, now)})
    assert f"configuration/{rule}" in rules(result)


def test_a_path_in_a_comment_is_a_warning(tmp_path: Path) -> None:
    name = ".env.prod.example"
    result = check(tmp_path, after={**AFTER, name: AFTER[name] + "# was ./data/devflow.sqlite\n"})
    assert rules(result) == set()
    assert "configuration/path-left" in rules(result, Severity.WARNING)


def test_a_lost_file_is_found(tmp_path: Path) -> None:
    after = {name: text for name, text in AFTER.items() if name != "ccr.config.json"}
    assert rules(check(tmp_path, after=after)) == {"configuration/file-lost"}


def test_permissions_that_changed_are_found(tmp_path: Path) -> None:
    check(tmp_path)
    (tmp_path / "tree" / "devflow-start.sh").chmod(0o644)
    made = Evidence(
        before=Snapshot.of(tmp_path / "before"), mapping=mapping(tmp_path), tree=tmp_path / "tree"
    )
    assert rules(configuration.check(made)) == {"configuration/mode-changed"}


def test_a_data_directory_that_is_left_is_found(tmp_path: Path) -> None:
    result = check(tmp_path, after={**AFTER, "data/notes.txt": "x"})
    assert rules(result) == {"configuration/data-left"}


def test_bytes_that_are_no_text_are_no_crash(tmp_path: Path) -> None:
    check(tmp_path)
    for side in ("before", "tree"):
        (tmp_path / side / "odd.sh").write_bytes(b"echo \xff\xfe\n")
    made = Evidence(
        before=Snapshot.of(tmp_path / "before"), mapping=mapping(tmp_path), tree=tmp_path / "tree"
    )
    assert configuration.check(made).verdict is Verdict.VALID
