"""The configuration tree: one database path is left in it, and nothing else is touched."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from devflow_tree import REPOSITORY, LegacyTree

from devflow.migration.configuration import (
    configuration_files,
    partial_of,
    rewrite,
    rewritten,
)

TEMPLATES = sorted(
    path.name for path in (REPOSITORY / "fixtures" / "tree").iterdir() if path.is_file()
)
_OLD_PATHS = re.compile(r"data/|/data\b|vector\.sqlite|(?<!DEVFLOW_DB_PATH=\")\$ROOT/devflow")
_OLD_NAMES = re.compile(r"\b(?:VECTOR_DB_PATH|DATABASE_PATH)\b")


def template(name: str) -> bytes:
    return (REPOSITORY / "fixtures" / "tree" / name).read_bytes()


def text_of(content: bytes) -> str:
    return rewritten(content).decode()


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_other_path_is_left_in_a_template(name: str) -> None:
    new = text_of(template(name))
    assert not _OLD_PATHS.search(new), new
    assert not _OLD_NAMES.search(new), new
    assert set(re.findall(r"[^\s\"'=:]*devflow\.sqlite", new)) == {"./devflow.sqlite"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_second_rewriting_changes_nothing(name: str) -> None:
    once = rewritten(template(name))
    assert rewritten(once) == once


@pytest.mark.parametrize("name", TEMPLATES)
def test_lines_end_as_they_did(name: str) -> None:
    with_cr = template(name).replace(b"\n", b"\r\n")
    assert rewritten(with_cr) == rewritten(template(name)).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name.endswith(".yml")])
def test_every_compose_service_works_in_the_devflow_root(name: str) -> None:
    services = yaml.safe_load(rewritten(template(name)))["services"]
    old = yaml.safe_load(template(name))["services"]
    for service, now in services.items():
        had_data = any(":/data" in volume for volume in old[service].get("volumes", []))
        mounted = ".:/devflow" in now.get("volumes", [])
        assert mounted == had_data
        assert (now.get("working_dir") == "/devflow") == had_data
        if had_data:
            environment = now["environment"]
            pairs = environment.items() if isinstance(environment, dict) else ()
            told = [f"{k}={v}" for k, v in pairs] or environment
            assert told == ["DEVFLOW_DB_PATH=./devflow.sqlite"]


def test_the_runners_configuration_stays_json_with_one_path() -> None:
    old = json.loads(template("ccr.config.json"))
    new = json.loads(rewritten(template("ccr.config.json")))
    assert set(new["database"].values()) == {"./devflow.sqlite"}
    assert {**new, "database": None} == {**old, "database": None}


def test_the_start_script_is_still_a_script() -> None:
    script = rewritten(template("devflow-start.sh"))
    checked = subprocess.run(["bash", "-n"], input=script, check=False, timeout=10)
    assert checked.returncode == 0
    assert b"mkdir -p logs\n" in script


def test_the_example_of_the_environment_says_the_path_once() -> None:
    lines = text_of(template(".env.prod.example")).splitlines()
    assert [line for line in lines if "DB_PATH" in line] == ["DEVFLOW_DB_PATH=./devflow.sqlite"]
    assert "DB_MANAGER_PORT=8082" in lines


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DATABASE_PATH=./data/devflow.sqlite\n", "DEVFLOW_DB_PATH=./devflow.sqlite\n"),
        ("export DATABASE_PATH='/data/vector.sqlite'", "export DEVFLOW_DB_PATH='./devflow.sqlite'"),
        ("p: ${DATABASE_PATH:-./data/x}", "p: ${DEVFLOW_DB_PATH:-./data/x}"),
        ("mkdir -p data\n", ":\n"),
        ("  mkdir ./data/ logs\n", "  mkdir logs\n"),
        ("      - ./data:/data:ro\n", "      - .:/devflow\n"),
        ("see my_devflow.sqlite and devflow.sqlite.bak\n",) * 2,
        ("http://example.test/data\n",) * 2,
        ("MY_DATABASE_PATH=elsewhere\n",) * 2,
        ("# nothing of ours\n",) * 2,
        ("",) * 2,
    ],
)
def test_a_line_becomes(old: str, new: str) -> None:
    assert text_of(old.encode()) == new


def test_a_line_that_would_be_there_twice_is_there_once() -> None:
    old = (
        "services:\n"
        "  one:\n"
        "    environment:\n"
        "      - DATABASE_PATH=/data/devflow.sqlite\n"
        "      - VECTOR_DB_PATH=/data/vector.sqlite\n"
        "    volumes:\n"
        "      - ./data:/data\n"
        "  two:\n"
        "    environment:\n"
        "      - DATABASE_PATH=/data/vector.sqlite\n"
    )
    new = yaml.safe_load(rewritten(old.encode()))["services"]
    for service in ("one", "two"):
        assert new[service]["environment"] == ["DEVFLOW_DB_PATH=./devflow.sqlite"]


def test_bytes_that_are_no_text_stay() -> None:
    old = b"\xff\xfe latin \xe9\nDATABASE_PATH=data/devflow.sqlite\n"
    assert rewritten(old) == b"\xff\xfe latin \xe9\nDEVFLOW_DB_PATH=./devflow.sqlite\n"


def test_only_configuration_files_are_touched_and_modes_stay(tree: LegacyTree) -> None:
    path_line = "DATABASE_PATH=./data/devflow.sqlite\n"
    untouched = ["notes.txt", "node_modules/a.json", "backups/x/.env", "logs/y.yml", ".git/z.sh"]
    for name in [*untouched, "deep/er/.env.local", "huge.json"]:
        path = tree.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path_line)
    (tree.directory / "huge.json").write_text(path_line + " " * (1 << 20))
    (tree.directory / "link.yml").symlink_to(tree.directory / "notes.txt")
    script = tree.directory / "devflow-start.sh"
    script.chmod(0o751)
    secret = tree.directory / "deep/er/.env.local"
    secret.chmod(0o600)
    counts = rewrite(tree.directory)
    assert counts["changed"] == len(TEMPLATES) + 1
    assert script.stat().st_mode & 0o777 == 0o751
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() == "DEVFLOW_DB_PATH=./devflow.sqlite\n"
    for name in [*untouched, "huge.json"]:
        assert (tree.directory / name).read_text().startswith(path_line)
    assert (tree.directory / "link.yml").is_symlink()
    assert rewrite(tree.directory) == {**counts, "changed": 0}


def test_files_are_found_in_one_order(tree: LegacyTree) -> None:
    names = [path.name for path in configuration_files(tree.directory)]
    assert names == sorted(TEMPLATES)


@pytest.mark.parametrize("end", ["resumed", "rolled back"])
def test_a_file_whose_writing_was_cut_off_leaves_nothing_behind(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    (tree.directory / ".env").write_bytes(template(".env.prod.example"))

    def cut_off(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        tree.apply("backup")
        context.setattr(Path, "rename", cut_off)
        rewrite(tree.directory)
    assert partial_of(tree.directory / ".env").exists()
    if end == "resumed":
        tree.apply()
    else:
        tree.rollback()
    assert not list(tree.directory.glob(".env*partial"))


def test_a_rollback_brings_every_file_and_mode_back(tree: LegacyTree, tmp_path: Path) -> None:
    (tree.directory / "devflow-start.sh").chmod(0o700)
    before = tree.copy(tmp_path / "before")
    tree.apply("cutover")
    (tree.directory / "docker-compose.yml").unlink()
    (tree.directory / "devflow-start.sh").chmod(0o644)
    tree.rollback()
    assert tree.state == before.state
