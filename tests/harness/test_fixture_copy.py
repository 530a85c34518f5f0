"""A DevFlow tree is copied whole, while others use it, and nothing in it changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree as MigratedTree
from harness.errors import BadInputError, EnvironmentFaultError
from harness.fixture.build import build
from harness.fixture.copy import LARGEST_FILE_BYTES, copy_tree
from harness.fixture.recipe import Recipe
from harness.fixture.tree import LOG
from harness.model import DATABASES
from harness.snapshot import Snapshot

# A real tree, where there is one to read: it is only ever copied from.
REAL = [Path(tree) for tree in (os.environ.get("DEVFLOW_REAL_TREE"),) if tree]

# Each stands for a service: it opens the database, says `ready`, and goes on until told to end.
OPEN = """
import sqlite3, sys, time, os, signal
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
"""
READY = "\nprint('ready', flush=True); sys.stdin.readline()\n"
WRITE_ONE = """
c.execute("PRAGMA wal_autocheckpoint = 0")
c.execute("INSERT INTO sessions VALUES ('live', 'n', NULL, NULL, 't', 't')")
"""
BUSY_WRITER = """
c.execute("PRAGMA synchronous = OFF")
print('ready', flush=True)
n, begun = 0, time.monotonic()
while time.monotonic() < begun + float(sys.argv[2]):
    c.execute("INSERT INTO sessions VALUES (?, 'n', ?, NULL, 't', 't')", (f'w{n:06d}', 'x' * 500))
    n += 1
    time.sleep(max(0, begun + n / 500 - time.monotonic()))
print(n, flush=True)
"""


@contextmanager
def service(path: Path, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN + script, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    build(Recipe(profile="real-like", seed=3), tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def legacy(tree: Path) -> Path:
    return tree / DATABASES["legacy"]


def state(tree: Path) -> dict[str, object]:
    """Return all that a trace could show in: names, bytes, and the three times of each entry."""
    found: dict[str, object] = {}
    for path in sorted([tree, *tree.rglob("*")]):
        status = path.lstat()
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        found[str(path)] = (times, status.st_size, status.st_ino)
    return found


def content(tree: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


def rows(tree: Path, sql: str = "SELECT id FROM sessions ORDER BY id") -> list[object]:
    with closing(apsw.Connection(str(legacy(tree)))) as connection:
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        return [row[0] for row in connection.execute(sql)]


def test_a_copy_says_the_same_and_nothing_in_the_source_changes(tree: Path, out: Path) -> None:
    for place in (*DATABASES.values(), LOG):
        os.utime(tree / place, ns=(5, 10**18))
    before = state(tree)
    copy_tree(tree, out)
    assert state(tree) == before
    assert Snapshot.of(out).digest() == Snapshot.of(tree).digest()
    assert (out / "devflow.sqlite").stat().st_mtime_ns == 10**18
    assert (out / LOG).stat().st_mtime_ns == 10**18
    assert (out / "devflow-start.sh").stat().st_mode == (tree / "devflow-start.sh").stat().st_mode


def test_bytes_and_times_of_built_and_real_trees_stay(tree: Path, tmp_path: Path) -> None:
    for number, source in enumerate((tree, *REAL)):
        known = content(source)
        before = state(source)
        copy_tree(source, tmp_path / str(number))
        assert state(source) == before
        assert content(source) == known
        assert rows(tmp_path / str(number), "SELECT count(*) FROM memory_blocks") == [10]


def test_rows_that_live_only_in_the_wal_come_along(tmp_path: Path, out: Path) -> None:
    build(Recipe(profile="real-like", hazards=("rows-only-in-wal",)), tmp_path / "wal")
    build(Recipe(profile="real-like"), tmp_path / "plain")
    before = state(tmp_path / "wal")
    copy_tree(tmp_path / "wal", out)
    assert state(tmp_path / "wal") == before
    assert Snapshot.of(out).digest() == Snapshot.of(tmp_path / "plain").digest()
    assert not list(out.rglob("*-wal"))


def test_a_living_service_is_copied_from_without_a_change_to_its_files(
    tree: Path, out: Path
) -> None:
    with service(legacy(tree), WRITE_ONE + READY):
        assert legacy(tree).with_name("devflow.sqlite-wal").stat().st_size
        before = content(tree)
        names = set(state(tree))
        copy_tree(tree, out)
        assert content(tree) == before
        assert set(state(tree)) == names
    assert rows(out) == ["live"]


def test_a_service_that_was_killed_is_copied_from_without_a_change_to_its_files(
    tree: Path, out: Path
) -> None:
    with service(legacy(tree), WRITE_ONE + READY) as process:
        process.kill()
        process.wait(10)
    assert legacy(tree).with_name("devflow.sqlite-shm").exists()
    known = content(tree)
    before = state(tree)
    copy_tree(tree, out)
    assert state(tree) == before
    assert content(tree) == known
    assert rows(out) == ["live"]


def test_a_busy_writer_does_not_starve_the_copy(tree: Path, tmp_path: Path) -> None:
    with service(legacy(tree), BUSY_WRITER, "3") as process:
        for number in range(5):
            time.sleep(0.3)
            started = time.monotonic()
            copy_tree(tree, tmp_path / str(number))
            assert time.monotonic() - started < 3
        assert process.stdout is not None
        written = int(process.stdout.readline())
        assert process.wait(10) == 0
    counts = []
    for number in range(5):
        ids = rows(tmp_path / str(number))
        assert ids == [f"w{n:06d}" for n in range(len(ids))], "a later write without an earlier"
        counts.append(len(ids))
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1] < written
    assert rows(tree) == [f"w{n:06d}" for n in range(written)], "the writer lost a write"


def test_a_writer_inside_a_transaction_blocks_nothing(tree: Path, out: Path) -> None:
    begin = 'c.execute("BEGIN IMMEDIATE")\n' + WRITE_ONE.splitlines()[-1]
    with service(legacy(tree), begin + READY):
        copy_tree(tree, out, deadline_s=0.5)
    assert rows(out) == []


@pytest.mark.parametrize(
    "lock",
    [
        'c.execute("PRAGMA locking_mode = EXCLUSIVE")\n' + WRITE_ONE,
        'c.execute("PRAGMA journal_mode = DELETE")\nc.execute("BEGIN EXCLUSIVE")',
    ],
    ids=["wal", "rollback-journal"],
)
def test_a_database_that_stays_locked_is_named_with_the_time_waited(
    tree: Path, out: Path, lock: str
) -> None:
    with service(legacy(tree), lock + READY):
        names = set(state(tree))
        started = time.monotonic()
        with pytest.raises(EnvironmentFaultError) as caught:
            copy_tree(tree, out, deadline_s=0.4)
        assert 0.4 <= time.monotonic() - started < 3
        assert set(state(tree)) == names
    said = str(caught.value)
    assert str(legacy(tree)) in said
    assert "0.4 s" in said
    assert "stop the process" in said
    assert not out.exists()


def test_a_lock_that_is_let_go_in_time_is_waited_for(tree: Path, out: Path) -> None:
    lock = 'c.execute("PRAGMA locking_mode = EXCLUSIVE")\n' + WRITE_ONE
    lock += "print('ready', flush=True); time.sleep(0.5); c.close()"
    with service(legacy(tree), lock):
        copy_tree(tree, out, deadline_s=10)
    assert rows(out) == ["live"]


def test_a_transaction_that_broke_off_is_rolled_back_in_the_copy_only(
    tree: Path, out: Path
) -> None:
    broken_off = """
c.execute("PRAGMA journal_mode = DELETE")
c.execute("PRAGMA cache_size = 5")
c.execute("BEGIN IMMEDIATE")
c.execute("UPDATE memory_blocks SET content = 'torn'")
c.execute("CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n"
    " WHERE i < 3000) SELECT i, randomblob(200) FROM n")
"""
    intact = rows(tree, "SELECT content FROM memory_blocks ORDER BY id")
    with service(legacy(tree), broken_off + READY) as process:
        process.kill()
        process.wait(10)
    assert legacy(tree).with_name("devflow.sqlite-journal").stat().st_size
    before = state(tree)
    copy_tree(tree, out)
    assert state(tree) == before
    assert rows(out, "SELECT content FROM memory_blocks ORDER BY id") == intact
    assert legacy(out).read_bytes()[18:20] == b"\x01\x01", "the journal mode stays"


def test_missing_and_empty_databases_stay_so(tmp_path: Path, out: Path) -> None:
    hazards = ("missing-vector", "zero-byte-legacy")
    build(Recipe(profile="real-like", hazards=hazards), tmp_path / "tree")
    copy_tree(tmp_path / "tree", out)
    assert legacy(out).stat().st_size == 0
    assert not (out / DATABASES["vector"]).exists()


def test_a_missing_data_directory_stays_missing(tmp_path: Path, out: Path) -> None:
    build(Recipe(profile="as-planned", hazards=("missing-data-directory",)), tmp_path / "tree")
    copy_tree(tmp_path / "tree", out)
    assert not (out / "data").exists()


def test_text_in_a_databases_place_is_named(tree: Path, out: Path) -> None:
    legacy(tree).write_text("see the wiki\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"data/devflow\.sqlite is no SQLite database.*see the"):
        copy_tree(tree, out)
    assert not out.exists()


def test_a_directory_in_a_databases_place_is_named(tree: Path, out: Path) -> None:
    legacy(tree).unlink()
    legacy(tree).mkdir()
    with pytest.raises(BadInputError, match=r"data/devflow\.sqlite is no file"):
        copy_tree(tree, out)


@pytest.mark.parametrize("place", [0, 4096 * 3])
def test_a_malformed_database_is_named(tree: Path, out: Path, place: int) -> None:
    with legacy(tree).open("r+b") as file:
        file.seek(place + 100)
        file.write(b"\xff" * 3_000)
    with pytest.raises(BadInputError, match=r"data/devflow\.sqlite is malformed .*backup"):
        copy_tree(tree, out)
    assert not out.exists()


def test_a_database_cut_short_is_named(tree: Path, out: Path) -> None:
    os.truncate(legacy(tree), 4096 * 4)
    with pytest.raises(BadInputError, match="malformed"):
        copy_tree(tree, out)


def test_values_that_break_a_check_are_no_malformed_database(tree: Path, out: Path) -> None:
    with closing(apsw.Connection(str(tree / "devflow.sqlite"))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("INSERT INTO task_contexts (id, title, status) VALUES (1, 2, 'odd')")
    copy_tree(tree, out)
    assert Snapshot.of(out).digest() == Snapshot.of(tree).digest()


def test_a_folder_that_is_no_devflow_tree_is_refused(tmp_path: Path, out: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(BadInputError, match=r"holds none of devflow\.sqlite"):
        copy_tree(tmp_path / "other", out)
    with pytest.raises(BadInputError, match="is no directory"):
        copy_tree(tmp_path / "nowhere", out)


def test_a_target_in_the_source_or_with_something_in_it_is_refused(
    tree: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match="must not be written to"):
        copy_tree(tree, tree / "copy")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInputError, match="is not empty"):
        copy_tree(tree, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_failed_copy_leaves_an_empty_target_empty(tree: Path, out: Path) -> None:
    out.mkdir()
    (tree / DATABASES["vector"]).write_text("text", encoding="utf-8")
    with pytest.raises(BadInputError):
        copy_tree(tree, out)
    assert list(out.iterdir()) == []


def test_configuration_comes_along_and_tools_and_other_databases_do_not(
    tree: Path, out: Path
) -> None:
    (tree / "services" / "registry").mkdir(parents=True)
    (tree / "services" / "registry" / ".env").write_text("DATABASE_PATH=x\n", encoding="utf-8")
    (tree / "services" / "registry" / ".env").chmod(0o600)
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "a.js").write_text("1", encoding="utf-8")
    shutil.copyfile(legacy(tree), tree / "data" / "devflow.bak")
    (tree / "data" / "devflow.bak-wal").write_bytes(b"frames")
    (tree / "large.bin").write_bytes(b"x" * (LARGEST_FILE_BYTES + 1))
    os.truncate(tree / LOG, 0)
    with (tree / LOG).open("w", encoding="utf-8") as log:
        log.write("{}\n" * (LARGEST_FILE_BYTES // 2))
    copy_tree(tree, out)
    env = out / "services" / "registry" / ".env"
    assert env.read_text(encoding="utf-8") == "DATABASE_PATH=x\n"
    assert env.stat().st_mode & 0o777 == 0o600
    left = ("node_modules", "data/devflow.bak", "data/devflow.bak-wal", "large.bin")
    assert [name for name in left if (out / name).exists()] == []
    assert (out / LOG).stat().st_size == (tree / LOG).stat().st_size


def test_links_are_copied_as_links_and_never_lead_out_of_the_tree(
    tree: Path, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tree / "within").symlink_to("ccr.config.json")
    (tree / "beyond").symlink_to("../secret")
    (tree / "absolute").symlink_to(tmp_path / "secret")
    os.mkfifo(tree / "pipe")
    copy_tree(tree, out)
    assert (out / "within").readlink() == Path("ccr.config.json")
    assert not any(os.path.lexists(out / name) for name in ("beyond", "absolute", "pipe"))


@pytest.mark.parametrize(
    "place", ["devflow.sqlite", "data/vector.sqlite", "data", "data/kept/note"]
)
def test_a_link_that_the_migration_refuses_is_refused_in_its_words(
    tree: Path, tmp_path: Path, out: Path, place: str
) -> None:
    (tree / "data" / "kept").mkdir()
    (tree / "data" / "kept" / "note").touch()
    (tree / place).rename(tree / "elsewhere")
    (tree / place).symlink_to(tree / "elsewhere")
    with pytest.raises(BadInputError) as refused:
        copy_tree(tree, out)
    with pytest.raises(MigrationError) as migration:
        MigratedTree.at(tree).check()
    assert str(refused.value) == str(migration.value)
    assert not out.exists()


def test_a_link_in_place_of_the_log_is_refused_and_not_left_out(
    tree: Path, tmp_path: Path, out: Path
) -> None:
    (tree / LOG).rename(tmp_path / "elsewhere")
    (tree / LOG).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match=f"{LOG} is a link; put what it names in its place"):
        copy_tree(tree, out)


@pytest.mark.parametrize("place", ["data/vector.sqlite", LOG])
def test_what_is_no_file_in_the_place_of_one_is_refused(tree: Path, out: Path, place: str) -> None:
    for make in (Path.mkdir, os.mkfifo):
        path = tree / place
        path.unlink() if path.is_file() else path.rmdir()
        make(path)
        with pytest.raises(BadInputError, match=f"{place} is no file: put the .* in its place"):
            copy_tree(tree, out)
    assert not out.exists()
