"""The candidate contract: one request a line, JSON lines for answers, exit codes that mean it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from devflow_tree import LegacyTree, environment, opened, speak

from devflow.migration import __main__ as candidate
from devflow.migration import phases
from devflow.migration.errors import MigrationError


def answered(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> tuple[int, list[dict[str, Any]]]:
    """Run the candidate in this process, as `python -m` would."""
    monkeypatch.setattr(sys, "argv", ["devflow.migration", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(text + "\n"))
    code = candidate.main()
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


BAD = {
    "nothing": ("", "no JSON"),
    "no JSON": ("{", "no JSON"),
    "deep JSON": ("[" * 100_000, "no JSON"),
    "a path with a NUL": (
        '{"contract": 1, "tree": "TREE", "paths": {"root": "a\\u0000b"}}',
        "paths.root",
    ),
    "a list": ("[]", "must be an object"),
    "no contract": ("{}", "contract 1"),
    "another contract": ('{"contract": 2, "tree": "TREE"}', "contract 1"),
    "an unknown key": ('{"contract": 1, "tree": "TREE", "untill": "x"}', "'untill'"),
    "no tree": ('{"contract": 1}', "tree must be"),
    "a tree that is no text": ('{"contract": 1, "tree": 7}', "tree must be"),
    "a tree that is a file": ('{"contract": 1, "tree": "/dev/null"}', "no directory"),
    "an unknown phase": ('{"contract": 1, "tree": "TREE", "until": "never"}', "'never'"),
    "until that is no text": ('{"contract": 1, "tree": "TREE", "until": ["x"]}', "until is"),
    "keep_writes": ('{"contract": 1, "tree": "TREE", "keep_writes": true}', "keep_writes"),
    "an unknown path": ('{"contract": 1, "tree": "TREE", "paths": {"rot": "x"}}', "'rot'"),
    "paths that are a list": ('{"contract": 1, "tree": "TREE", "paths": ["x"]}', "paths"),
    "a path that is no text": ('{"contract": 1, "tree": "TREE", "paths": {"root": 7}}', "paths"),
    "paths that are a text": ('{"contract": 1, "tree": "TREE", "paths": "x"}', "paths must be"),
    "an empty path": ('{"contract": 1, "tree": "TREE", "paths": {"root": ""}}', "paths.root"),
    "one path twice": (
        '{"contract": 1, "tree": "TREE", "paths": {"root": "data/./devflow.sqlite"}}',
        "twice",
    ),
    "a path out of the tree": (
        '{"contract": 1, "tree": "TREE", "paths": {"root": "../x.sqlite"}}',
        "paths",
    ),
    "an absolute path": ('{"contract": 1, "tree": "TREE", "paths": {"root": "/x"}}', "paths"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_one_sentence_and_exit_1(
    tree: LegacyTree,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    text, told = BAD[name]
    text = text.replace("TREE", str(tree.directory))
    code, events = answered(monkeypatch, capsys, ["apply"], text)
    assert code == 1
    (event,) = events
    assert event["event"] == "error"
    assert event["definite"] is True
    assert told in event["text"]
    assert "\n" not in event["text"]


@pytest.mark.parametrize("arguments", [[], ["migrate"], ["apply", "now"]])
def test_a_bad_command_line_is_answered_with_the_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["devflow.migration", *arguments])
    assert candidate.main() == 1
    assert "usage: python -m devflow.migration plan|apply" in capsys.readouterr().err


def test_the_events_of_apply_are_the_contracts(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, events = answered(monkeypatch, capsys, ["apply"], tree.request(until="backup"))
    assert code == 0
    assert [e["event"] for e in events] == [
        "phase_started",
        "step_started",
        "step_done",
        "phase_done",
        "done",
    ]
    assert events[2]["counts"] == {"files": 8}
    assert events[-1] == {"event": "done", "state": "backup"}
    assert tree.call("rollback")[1][-1] == {"event": "done", "state": "none"}


def test_a_failure_after_a_step_is_indefinite_and_exit_3(tree: LegacyTree) -> None:
    tree.apply("shadow")
    tree.run("legacy", "CREATE TABLE late (a)")
    code, events = tree.call("apply")
    assert code == 3
    assert events[-1]["code"] == "written-since-backup"
    assert events[-1]["definite"] is False


def test_a_refusal_of_sqlite_is_one_sentence(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.apply("shadow")
    with opened(tree.directory / ".devflow-migration" / "journal.sqlite") as connection:
        connection.execute("ALTER TABLE steps RENAME COLUMN counts TO other")
    code, events = answered(monkeypatch, capsys, ["apply"], tree.request())
    assert code == 3
    assert events[-1]["code"] == "sqlite"
    assert events[-1]["text"].startswith("SQLite refused: ")


def test_a_refusal_of_the_file_system_is_one_sentence(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree.directory / "backups").write_text("a file where the backups would go")
    code, events = answered(monkeypatch, capsys, ["apply"], tree.request())
    assert code == 3
    assert events[-1]["code"] == "file-system"
    assert "backups" in events[-1]["text"]


def test_lockstep_waits_for_a_line_after_every_step(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tree.request(lockstep=True, until="backup") + "\n\n"
    code, _ = answered(monkeypatch, capsys, ["apply"], lines)
    assert code == 0
    assert not sys.stdin.read()


def test_a_request_that_is_no_utf_8_is_answered(tree: LegacyTree) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devflow.migration", "serve"],
        input=b"\xff\n" + tree.request(op="status").encode() + b"\n",
        capture_output=True, timeout=30, check=False, env=environment(),
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["error", "done"]
    assert done.returncode == 0


# Serving ---------------------------------------------------------------------------------------


def test_serve_answers_each_line_and_ends_with_stdin(tree: LegacyTree, tmp_path: Path) -> None:
    other = LegacyTree.make(tmp_path / "other")
    requests = [
        tree.request(op="status"),
        "no JSON",
        tree.request(op="apply", until="backup"),
        other.request(op="status"),
        tree.request(op="plan", until="backup"),
        tree.request(op="unknown"),
        tree.request(),
        tree.request(op="rollback"),
    ]
    code, events = speak(["serve"], "\n".join(requests))
    assert code == 0
    last = [e for e in events if e["event"] in ("done", "error")]
    assert [e.get("state") or e["code"] for e in last] == [
        "none",
        "bad-request",
        "backup",
        "none",
        "backup",
        "bad-request",
        "bad-request",
        "none",
    ]


def test_serve_in_this_process_says_the_same(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tree.request(op="apply", until="backup") + "\n" + tree.request(op="rollback")
    code, events = answered(monkeypatch, capsys, ["serve"], text)
    assert code == 0
    done = [e["state"] for e in events if e["event"] == "done"]
    assert done == ["backup", "none"]


def test_one_request_does_not_make_the_next_ones_failure_indefinite(tree: LegacyTree) -> None:
    bad = tree.request(op="apply", paths={"root": "devflow-start.sh"})
    _, events = speak(["serve"], tree.request(op="apply", until="backup") + "\n" + bad)
    assert events[-1]["definite"] is True


# Starting ---------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_at_the_start() -> None:
    script = (
        "import sys; import devflow.migration.__main__;"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('yaml', 'click', 'rich', 'sqlglot', 'numpy', 'harness', 'asyncio')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30,
        env=environment(),
    )  # fmt: skip
    assert done.stdout == "\n"


def test_an_error_keeps_its_slug_its_sentence_and_its_kind() -> None:
    error = MigrationError("slug", "one sentence", definite=False)
    assert (error.code, error.text, str(error), error.definite) == (
        "slug",
        "one sentence",
        "one sentence",
        False,
    )


def test_phases_are_the_contracts() -> None:
    assert phases.PHASES == ("backup", "shadow", "cutover", "validate", "cleanup")
