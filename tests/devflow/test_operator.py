"""The operator's command: the same phases, told in words, with the contract's exit codes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from devflow_tree import LegacyTree, environment

from devflow import operator
from devflow.migration import phases


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = operator.main(["migrate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_migration_is_told_line_by_line(
    tree: LegacyTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.insert("legacy", "task_contexts", id="t", title="x")
    before = tree.copy(tmp_path / "before")
    assert told(capsys, "status", tree.directory)[:2] == (
        0,
        "not migrated; the first phase is backup\n",
    )
    code, out, err = told(capsys, "apply", tree.directory, "--until", "shadow")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("backup.before")
    assert lines[0].endswith("8 files")
    assert any("shadow.copy.legacy.task_contexts" in line and "1 kept" in line for line in lines)
    assert lines[-1] == "shadow is done; next comes cutover"
    code, out, _ = told(capsys, "apply", tree.directory, "--until", "shadow")
    assert code == 0
    assert "backup: 1 steps were done before" in out
    assert out.endswith("nothing to do: shadow is done; next comes cutover\n")
    tree.apply("cleanup")
    code, out, _ = told(capsys, "apply", tree.directory)
    assert (code, out.splitlines()[-1]) == (0, "nothing to do: migrated: every phase is done")
    code, out, _ = told(capsys, "rollback", tree.directory)
    assert (code, out.splitlines()[-1]) == (
        0,
        "rolled back: databases and configuration are what they were",
    )
    assert tree.state == before.state
    code, out, _ = told(capsys, "rollback", tree.directory)
    assert (code, out) == (0, "nothing to roll back: no migration was begun\n")


def test_the_plan_is_numbered(tree: LegacyTree, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "plan", tree.directory, "--until", "backup")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["1", "backup", "backup.before"]
    assert len(lines) == 1 + len(phases.AT_REST.back)


def test_the_tree_is_where_one_stands_unless_named(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.directory)
    assert told(capsys, "status")[0] == 0


@pytest.mark.parametrize("operation", ["plan", "apply", "status", "rollback"])
def test_a_tree_that_is_not_there_is_one_sentence_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    code, _, err = told(capsys, operation, tmp_path / "nowhere")
    assert code == 1
    assert err == f"error: {tmp_path}/nowhere is no directory; name a DevFlow root\n"


def test_a_bad_database_is_one_sentence_and_exit_1(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.path("vector").write_text("text")
    code, out, err = told(capsys, "apply", tree.directory)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tree.path('vector')} is no SQLite database")
    assert err.count("\n") == 1


def test_what_the_file_system_refuses_is_one_sentence(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree.directory / "backups").write_text("in the way")
    code, _, err = told(capsys, "apply", tree.directory, "--until", "shadow")
    assert code == 3
    assert err.startswith("error: ")
    assert "backups" in err


def test_what_sqlite_refuses_is_one_sentence(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.apply("shadow")
    journal = tree.directory / ".devflow-migration" / "journal.sqlite"
    with apsw.Connection(str(journal)) as connection:
        connection.execute("ALTER TABLE steps RENAME COLUMN counts TO other")
    code, _, err = told(capsys, "plan", tree.directory)
    assert code == 1
    assert err.startswith("error: SQLite refused: ")


def test_an_interruption_says_how_to_go_on(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operator.Narrator, "tell", interrupted)
    code, _, err = told(capsys, "apply", tree.directory, "--until", "shadow")
    assert (code, err) == (3, "error: interrupted; apply again to go on, or roll back\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["migrate", "apply", "--until", "never"], "'never'"),
        (["migrate", "aply"], "'aply'"),
        (["migrate", "status", "one", "two"], "two"),
        (["migrate"], "Usage: python -m devflow migrate"),
        ([], "Usage: python -m devflow"),
    ],
)
def test_a_bad_command_line_is_exit_1(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert operator.main(arguments) == 1
    assert said in capsys.readouterr().err


def test_help_is_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert operator.main(["migrate", "--help"]) == 0
    assert "rollback" in capsys.readouterr().out


GATE = {"service": "model-registry", "port": "8083", "control": "18083"}
URL = "http://127.0.0.1:28083"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"service": "model-registri"}, "no service that is moved; did you mean 'model-registry'?"),
        ({"service": "costs"}, "it may be vector-memory, model-registry, database-manager"),
        ({"port": "65536"}, "65536 is not in the range 1<=x<=65535"),
        ({"control": "0"}, "0 is not in the range 1<=x<=65535"),
        ({"legacy": "x"}, "'--legacy': 'x' must be http://HOST:PORT"),
        ({"unified": "https://127.0.0.1:1"}, "'--unified': 'https://127.0.0.1:1' must be http://"),
        ({"legacy": "http://127.0.0.1"}, "must be http://HOST:PORT"),
        ({"legacy": "http://:80"}, "must be http://HOST:PORT"),
        ({"legacy": "http://127.0.0.1:http"}, "must be http://HOST:PORT"),
        ({"legacy": "http://127.0.0.1:80/v2"}, "with nothing behind"),
    ],
)
def test_a_gate_in_front_of_nothing_is_refused_before_it_takes_a_port(
    capsys: pytest.CaptureFixture[str], changed: dict[str, str], said: str
) -> None:
    given = {**GATE, "legacy": URL, "unified": URL, **changed}
    words = [f"--{name}={given[name]}" for name in ("control", "legacy", "unified")]
    assert operator.main(["gate", given["service"], given["port"], *words]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_a_gate_prints_help_as_every_command_does(
    capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    assert operator.main(["gate", asked]) == 0
    assert "Usage: python -m devflow gate" in capsys.readouterr().out


def test_on_a_terminal_a_bar_shows_the_time_left(tree: LegacyTree) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "devflow", "migrate", "apply", "--until", "shadow", tree.directory],
        stdout=slave,
        stderr=slave,
        stdin=subprocess.DEVNULL,
        env={**environment(), "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65_536)
            except OSError:  # the other end of a terminal is gone
                break
            if not piece:
                break
            shown += piece
        assert process.wait(60) == 0
    os.close(master)
    text = shown.decode()
    assert "left" in text
    assert "shadow is done; next comes cutover" in text


def test_a_process_that_is_no_terminal_prints_plain_lines(tree: LegacyTree) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devflow", "migrate", "apply", "--until", "backup",
         str(tree.directory)],
        capture_output=True, text=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
