"""The command line: its exit codes, its one JSON object, its one sentence for what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest
from small_candidate import MANIFEST

from harness import cli
from harness.errors import ExitCode
from harness.fixture.build import build
from harness.fixture.recipe import Recipe

SCENARIO = f"""
description: x
fixture:
  inline:
    root: ["CREATE TABLE notes (id TEXT, text TEXT)", "INSERT INTO notes VALUES ('a', 'x')"]
    legacy: ["CREATE TABLE notes (id TEXT, text TEXT)", "INSERT INTO notes VALUES ('b', 'y')"]
candidate: {MANIFEST}
checkers: [rows, ledger, rollback]
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("cli") / "tree"
    build(Recipe(profile="real-like", hazards=("null-primary-keys",)), tree)
    return tree


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def state(tree: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in tree.rglob("*")
        if path.is_file()
    }


def story(tmp_path: Path, text: str = SCENARIO) -> Path:
    path = tmp_path / "story.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_rehearsal_prints_one_object_and_leaves_the_source_alone(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(source)
    code = run("rehearse", "--source", source, "--out", tmp_path / "out", "--json")
    said = json.loads(capsys.readouterr().out)
    assert json.loads(Path(said["report"]).read_text())["not_examined"] == []
    assert (code, said["verdict"]) == (0, "valid")
    assert set(said) == {"verdict", "findings", "examined", "report"}
    assert said["examined"]["rows"]["legacy rows"] > 0
    assert Path(said["report"]).is_file()
    assert state(source) == before


def test_the_report_of_a_rehearsal_verifies_and_explains_a_row(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keygen", "--out", tmp_path / "keys") == ExitCode.VALID
    private, public = (tmp_path / "keys" / name for name in ("gate-key.pem", "gate-key.pub.pem"))
    out = tmp_path / "out"
    assert run("rehearse", "--source", source, "--out", out, "--key", private) == 0
    assert run("verify", out, "--key", public, "--before", source) == 0
    connection = apsw.Connection(str(source / "data" / "devflow.sqlite"), apsw.SQLITE_OPEN_READONLY)
    (key,) = connection.execute("SELECT id FROM memory_blocks WHERE id NOT NULL").fetchall()[0]
    connection.close()
    capsys.readouterr()
    assert run("explain", f"legacy/memory_blocks/{key}", "--report", out) == 0
    assert "proven: the entry is in the root" in capsys.readouterr().out
    page = out / "report.html"
    page.write_bytes(page.read_bytes() + b" ")
    assert run("verify", out, "--key", public, "--json") == ExitCode.INVALID
    assert json.loads(capsys.readouterr().out)["verdict"] == "invalid"


def test_an_audit_judges_what_somebody_ran(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("rehearse", "--source", source, "--out", out) == 0
    after = shutil.copy(out / "run" / "after" / "devflow.sqlite", tmp_path / "unified.sqlite")
    audited = ("audit", "--before", source, "--after", after, "--out", tmp_path / "audit")
    assert run(*audited) == 0
    connection = apsw.Connection(str(after))
    connection.execute("DELETE FROM memory_block_embeddings WHERE seq = 1")
    connection.close()
    capsys.readouterr()
    assert run(*audited) == ExitCode.INVALID
    shown = capsys.readouterr().out
    assert "harness audit --before" in shown
    assert shown.splitlines()[-1].startswith("invalid: ")


def test_a_scenario_by_its_file_leaves_databases_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("scenario", story(tmp_path), "--out", out, "--seed", "3") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("valid: ")
    assert "rows: valid (1 root rows, 1 legacy rows" in printed.err
    assert (out / "run" / "after" / "devflow.sqlite").is_file()
    document = json.loads((out / "report.json").read_text())
    assert document["kind"] == "scenario"
    assert "scenario/story" in {subject["name"] for subject in document["subjects"]}


def test_an_unmet_expectation_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = story(tmp_path, SCENARIO + "expect: {verdict: invalid}\n")
    assert run("scenario", path, "--out", tmp_path / "out") == ExitCode.INVALID


def test_a_candidate_that_takes_too_long_is_ended_and_the_way_out_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Path(shutil.copytree(MANIFEST.parent, tmp_path / "slow")) / MANIFEST.name
    with slow.open("a", encoding="utf-8") as manifest:
        manifest.write("environment: {FAULT: slow}\n")
    path = story(tmp_path, SCENARIO.replace(str(MANIFEST), str(slow)))
    begun = time.monotonic()
    assert run("scenario", path, "--out", tmp_path / "out", "--timeout", "1") == ExitCode.INVALID
    assert time.monotonic() - begun < 30
    printed = capsys.readouterr().out
    assert "ended after 1 s" in printed
    assert "--timeout of rehearse and scenario gives each command longer" in printed


def test_nothing_examined_exits_with_2(tmp_path: Path) -> None:
    text = SCENARIO.replace(", \"INSERT INTO notes VALUES ('a', 'x')\"", "")
    text = text.replace(", \"INSERT INTO notes VALUES ('b', 'y')\"", "")
    path = story(tmp_path, text.replace("rows, ledger, rollback", "rows"))
    assert run("scenario", path, "--out", tmp_path / "out") == ExitCode.UNKNOWN


def test_a_fixture_is_built_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "built"
    assert run("build", "real-like", "--out", out, "--seed", "4", "--hazard", "log-missing") == 0
    assert (out / "devflow.sqlite").is_file()
    assert not (out / "logs" / "model-registry.log").exists()
    assert "seed 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rehears"], "Did you mean 'rehearse'?"),
        (["rehearse", "--source", "{tmp}/full", "--out", "{long}"], "name another folder"),
        (["rehearse", "--source", "{long}"], "is too long for a file; give a shorter one"),
        (["rehearse", "--source", "{tmp}/a\udcff"], "has bytes that are no UTF-8; rename it"),
        (["rehearse", "--source", "{tmp}/full", "--candidate", "{tmp}/deep.yaml"], "too deeply"),
        (["rehearse", "--source", "{tmp}/full", "--candidate", "{tmp}/twice.yaml"], "stands twice"),
        (["scenario", "{tmp}/deep.yaml"], "nested too deeply"),
        (["build", "{tmp}/deep.yaml", "--out", "{tmp}/b"], "nested too deeply"),
        (["build", "{tmp}/twice.yaml", "--out", "{tmp}/b"], "'profile' stands twice"),
        (["build", "real-like", "--scale", "1e9", "--out", "{tmp}/b"], "give at most 100000"),
        (["rehearse"], "Missing option '--source'"),
        (["rehearse", "--source", "{tmp}/none"], "is no folder; name the root of a DevFlow tree"),
        (["rehearse", "--source", "{tmp}", "--out", "{tmp}/out"], "lie in each other"),
        (["rehearse", "--source", "{tmp}/full", "--timeout", "nan"], "not a valid integer range"),
        (["rehearse", "--source", "{tmp}/full", "--candidate", "{tmp}/c.yaml"], "cannot be read"),
        (["rehearse", "--source", "{tmp}/full", "--out", "{tmp}/taken"], "name another folder"),
        (["audit", "--before", "{tmp}/full", "--after", "{tmp}/none"], "is no file"),
        (["audit", "--before", "{tmp}/none", "--after", "{tmp}/c"], "is no folder"),
        (["scenario", "null-primary-key"], "did you mean 'null-primary-keys'?"),
        (["scenario", "{tmp}/none.yaml"], "cannot be read"),
        (["build", "reel-like", "--out", "{tmp}/b"], "there is no recipe"),
        (["build", "real-like", "--out", "{tmp}/b", "--hazard", "emojis"], "did you mean 'emoji'?"),
        (["verify", "{tmp}/none"], "is not a report"),
        (["explain", "legacy/x", "--report", "{tmp}"], "names no row"),
        (["mutants", "--only", "no-such-mutant"], "there is no mutant"),
        (["gate", "--profile", "huge"], "'huge' is not one of"),
    ],
)
def test_bad_input_is_one_sentence_and_exits_with_254(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "devflow.sqlite").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").touch()
    (tmp_path / "deep.yaml").write_text("[" * 5_000)
    (tmp_path / "twice.yaml").write_text("profile: empty\nprofile: large\n")
    places = {"{tmp}": str(tmp_path), "{long}": str(tmp_path / ("x" * 300))}
    for mark, place in places.items():
        arguments = [argument.replace(mark, place) for argument in arguments]
    code = run(*arguments)
    printed = capsys.readouterr()
    assert code == ExitCode.BAD_INPUT
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith("harness: ")
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_bad_input_with_json_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rehearse", "--json") == ExitCode.BAD_INPUT
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] is None
    assert said["exit_code"] == 254
    assert "Missing option" in said["error"]


def test_a_text_in_a_databases_place_is_one_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(source, tmp_path / "tree"))
    (tree / "data" / "vector.sqlite").write_text("no database at all, only words\n" * 9)
    code = run("rehearse", "--source", tree, "--out", tmp_path / "out")
    assert code == ExitCode.BAD_INPUT
    assert "data/vector.sqlite" in capsys.readouterr().err


HOLD = """
import sys, apsw
held = apsw.Connection(sys.argv[1])
held.execute("PRAGMA journal_mode=DELETE")
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_database_that_another_process_holds_locked_is_one_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(source, tmp_path / "tree"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tree / "devflow.sqlite")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        code = run("rehearse", "--source", tree, "--out", tmp_path / "out")
        holder.stdin.close()
    assert code == ExitCode.BAD_INPUT
    assert "locked" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["missing", "zero-byte"])
def test_a_source_that_lacks_something_is_migrated_all_the_same_and_that_is_told(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    tree, out = Path(shutil.copytree(source, tmp_path / "tree")), tmp_path / "out"
    if change == "missing":
        shutil.rmtree(tree / "data")
        (tree / "logs" / "model-registry.log").unlink()
        told = [f"the database data/{n}.sqlite, which is not there" for n in ("devflow", "vector")]
        told.append("the log logs/model-registry.log, which is not there")
    else:
        (tree / "data" / "vector.sqlite").write_bytes(b"")
        told = ["the database data/vector.sqlite, which has no bytes"]
    assert run("rehearse", "--source", tree, "--out", out) == 0
    assert f"; NOT EXAMINED: {'; '.join(told)}; report: " in capsys.readouterr().out
    assert json.loads((out / "report.json").read_text())["not_examined"] == told
    page = (out / "report.html").read_text()
    assert f"<strong>Not examined:</strong> {'; '.join(told)}" in page


def test_a_bug_of_the_harness_is_one_sentence_and_exits_with_255(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("harness.keys.generate", broken)
    assert run("keygen") == ExitCode.BROKEN
    printed = capsys.readouterr().err
    assert "the harness itself broke (ZeroDivisionError: by nought); see " in printed
    log = Path(printed.rsplit("see ", 1)[1].strip())
    assert "Traceback" in log.read_text()
    log.unlink()


def test_help_needs_no_more_than_click() -> None:
    code = "import sys, harness.cli; sys.exit('apsw' in sys.modules or 'yaml' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_module_runs_as_a_program() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "harness", "--help"],
        check=True, timeout=60, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for command in ("rehearse", "audit", "scenario", "gate", "build", "mutants", "explain"):
        assert command in shown


def test_a_run_that_is_ended_from_outside_says_so(tmp_path: Path) -> None:
    path = story(tmp_path, SCENARIO + "nemesis: {kill: {during: apply}}\n")
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "scenario", str(path), "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        rest = process.stderr.read()
    assert process.returncode == ExitCode.BROKEN
    assert rest.splitlines()[-1] == "harness: interrupted"


@pytest.mark.parametrize(
    ("unread", "code"), [("stderr", ExitCode.VALID), ("stdout", ExitCode.BROKEN)]
)
def test_progress_that_nobody_reads_changes_no_verdict_and_an_unread_answer_is_none(
    tmp_path: Path, unread: str, code: int
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = ["-m", "harness", "scenario", str(story(tmp_path)), "--out", str(tmp_path / "out")]
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {unread: writer}
    done = subprocess.run(
        [sys.executable, *command], timeout=60, check=False, text=True, **ends
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == code
    assert (tmp_path / "out" / "report.json").is_file()
    if unread == "stderr":
        assert done.stdout.startswith("valid: ")


def test_bad_input_that_nobody_reads_of_exits_with_254_too(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "harness", "verify", str(tmp_path / "none")]
    done = subprocess.run(command, timeout=60, check=False, stderr=writer)
    os.close(writer)
    assert done.returncode == ExitCode.BAD_INPUT


def test_mutants_prints_who_caught_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "last-row-dropped"
    assert run("mutants", "--only", name, "--out", tmp_path / "out", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rate"] == 1.0
    assert said["mutants"][name]
