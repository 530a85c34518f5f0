"""Fixtures are built whole, valid, quiescent, and the same from the same recipe."""

from __future__ import annotations

import random
import time
from pathlib import Path

import apsw
import pytest

from harness.database import open_read_only
from harness.errors import BadInputError
from harness.fixture.build import build
from harness.fixture.folder import fixtures_folder
from harness.fixture.hazards import HAZARDS
from harness.fixture.recipe import PROFILES, Recipe, recipe_names
from harness.fixture.tree import LOG
from harness.model import DATABASES
from harness.snapshot import Snapshot

SMALL = [profile for profile in PROFILES if profile != "large"]


def made(folder: Path, profile: str = "as-planned", *hazards: str, seed: int = 1) -> Path:
    build(Recipe(profile=profile, seed=seed, hazards=hazards), folder)
    return folder


def count(tree: Path, name: str, table: str) -> int:
    with open_read_only(tree / DATABASES[name]) as connection:
        return int(connection.execute(f'SELECT count(*) FROM "{table}"').get)


def value(tree: Path, name: str, sql: str) -> object:
    with open_read_only(tree / DATABASES[name]) as connection:
        return connection.execute(sql).get


def assert_sound(tree: Path, *, side_files: bool = False) -> None:
    for place in DATABASES.values():
        path = tree / place
        if path.exists() and path.stat().st_size:
            assert path.read_bytes()[18:20] == b"\x02\x02", f"{place} is not in WAL mode"
            with apsw.Connection(str(path)) as connection:
                said = connection.execute("PRAGMA integrity_check").fetchall()
                assert said == [("ok",)], place
                assert connection.pragma("journal_mode") == "wal"
            connection.close()
    if not side_files:
        beside = [path for path in tree.rglob("*") if path.name.endswith(("-wal", "-shm"))]
        assert beside == []


@pytest.mark.parametrize("profile", SMALL)
def test_a_recipe_a_seed_and_a_scale_give_one_digest(tmp_path: Path, profile: str) -> None:
    first = Snapshot.of(made(tmp_path / "a", profile)).digest()
    assert Snapshot.of(made(tmp_path / "b", profile)).digest() == first
    if profile != "empty":
        assert Snapshot.of(made(tmp_path / "c", profile, seed=2)).digest() != first


@pytest.mark.parametrize("profile", SMALL)
def test_every_profile_is_a_whole_sound_tree(tmp_path: Path, profile: str) -> None:
    tree = made(tmp_path / "tree", profile)
    assert_sound(tree)
    for place in (*DATABASES.values(), LOG, ".env.prod.example", "devflow-start.sh"):
        assert (tree / place).is_file()


@pytest.mark.parametrize("hazard", list(HAZARDS))
def test_every_hazard_is_sound_and_the_same_each_time(tmp_path: Path, hazard: str) -> None:
    side_files = hazard == "rows-only-in-wal"
    tree, again = made(tmp_path / "a", "empty", hazard), made(tmp_path / "b", "empty", hazard)
    assert Snapshot.of(tree).digest() == Snapshot.of(again).digest()
    assert_sound(tree, side_files=side_files)


@pytest.mark.parametrize("hazard", list(HAZARDS))
def test_every_hazard_changes_a_clean_tree(tmp_path: Path, hazard: str) -> None:
    clean, odd = made(tmp_path / "a"), made(tmp_path / "b", "as-planned", hazard)
    if hazard == "rows-only-in-wal":
        assert (odd / "devflow.sqlite-wal").is_file()
    else:
        assert Snapshot.of(odd).digest() != Snapshot.of(clean).digest()


def test_hazards_can_be_combined_at_random(tmp_path: Path) -> None:
    rng = random.Random(7)
    for number in range(12):
        hazards = rng.sample(list(HAZARDS), rng.randrange(2, 12))
        tree = made(tmp_path / str(number), rng.choice(SMALL), *hazards, seed=number)
        assert_sound(tree, side_files="rows-only-in-wal" in hazards)


def test_all_hazards_at_once_leave_a_sound_tree(tmp_path: Path) -> None:
    rows = [name for name in HAZARDS if not name.startswith(("missing-", "zero-byte-"))]
    assert_sound(made(tmp_path / "tree", "real-like", *rows), side_files=True)


def test_the_real_like_profile_has_the_counts_of_the_real_data(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree", "real-like")
    counts = {
        ("root", "task_contexts"): 3,
        ("root", "memory_blocks"): 0,
        ("root", "memory_block_embeddings"): 14,
        ("root", "coordination_sessions"): 1,
        ("root", "platform_performance"): 12,
        ("legacy", "task_contexts"): 1,
        ("legacy", "memory_blocks"): 10,
        ("legacy", "memory_block_embeddings"): 9,
        ("vector", "vector_memories"): 5,
    }
    assert {key: count(tree, *key) for key in counts} == counts
    assert (
        value(tree, "legacy", "SELECT count(*) FROM memory_block_embeddings WHERE id IS NULL") == 5
    )
    most = "SELECT max(n) FROM (SELECT count(*) n FROM memory_block_embeddings GROUP BY 1)"
    assert value(tree, "legacy", most.replace("BY 1", "BY memory_block_id")) == 3
    assert len((tree / LOG).read_text(encoding="utf-8").splitlines()) == 180


def test_a_scale_multiplies_the_rows(tmp_path: Path) -> None:
    build(Recipe(profile="real-like", scale=3), tmp_path / "tree")
    assert count(tmp_path / "tree", "legacy", "memory_blocks") == 30


def test_an_earlier_attempt_left_rows_under_new_ids(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree", "partially-migrated")
    brought = "SELECT count(*) FROM memory_blocks WHERE metadata ->> 'source' = 'migration'"
    assert value(tree, "root", brought) == 5
    with open_read_only(tree / DATABASES["root"]) as connection:
        connection.execute("ATTACH ? AS legacy", (f"file:{tree / DATABASES['legacy']}?mode=ro",))
        known = connection.execute(
            "SELECT count(*) FROM memory_blocks AS u JOIN legacy.memory_blocks AS b"
            " ON b.id = u.metadata ->> 'original_id' AND b.content = u.content AND b.id <> u.id"
        ).get
    assert known == 5


def test_rows_only_in_the_wal_are_missed_by_who_copies_the_main_file(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree", "real-like", "rows-only-in-wal")
    for name, table in (
        ("root", "task_contexts"),
        ("legacy", "memory_blocks"),
        ("vector", "vector_memories"),
    ):
        alone = tmp_path / f"{name}.sqlite"
        alone.write_bytes((tree / DATABASES[name]).read_bytes())
        with apsw.Connection(str(alone)) as connection:
            assert connection.execute("PRAGMA integrity_check").get == "ok"
            assert connection.execute(f"SELECT count(*) FROM {table}").get == 0
        connection.close()
        assert count(tree, name, table) > 0


def test_the_two_dead_insert_triggers_of_the_root_are_there_and_dead(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree", "empty")
    connection = apsw.Connection(str(tree / DATABASES["root"]))
    connection.execute("INSERT INTO task_contexts (id, title) VALUES ('t', 't')")
    with pytest.raises(apsw.MismatchError):
        connection.execute(
            "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content)"
            " VALUES ('b', 't', 's', 'context', 'l', 'c')"
        )
    with pytest.raises(apsw.SQLError, match="entity_value"):
        connection.execute(
            "INSERT INTO knowledge_entities (id, entity_type, name, extraction_source)"
            " VALUES ('e', 'rule', 'n', '{}')"
        )
    connection.close()


def test_the_configuration_names_its_inconsistent_paths() -> None:
    tree = fixtures_folder() / "tree"
    lines = (tree / ".env.prod.example").read_text(encoding="utf-8").splitlines()
    assert lines[26] == "DEVFLOW_DB_PATH=./data/devflow.sqlite"
    assert "/data" in (tree / "docker-compose.yml").read_text(encoding="utf-8")
    start = (tree / "devflow-start.sh").read_text(encoding="utf-8")
    assert "./data/devflow.sqlite" in start
    assert "./data/vector.sqlite" in start
    assert (tree / "devflow-start.sh").stat().st_mode & 0o111


def test_a_small_fixture_is_built_in_milliseconds(tmp_path: Path) -> None:
    made(tmp_path / "first", "real-like")
    times_s = []
    for number in range(5):
        started = time.perf_counter()
        made(tmp_path / str(number), "real-like")
        times_s.append(time.perf_counter() - started)
    assert min(times_s) < 0.2  # a tenth of that on a quiet machine


def test_large_keeps_its_proportions_at_any_scale(tmp_path: Path) -> None:
    build(Recipe(profile="large", scale=0.001), tmp_path / "a")
    build(Recipe(profile="large", scale=0.001), tmp_path / "b")
    assert count(tmp_path / "a", "legacy", "memory_blocks") == 400
    assert count(tmp_path / "a", "legacy", "memory_block_embeddings") == 250
    assert_sound(tmp_path / "a")
    assert Snapshot.of(tmp_path / "a").digest() == Snapshot.of(tmp_path / "b").digest()


def test_a_folder_with_something_in_it_is_not_built_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInputError, match="not empty"):
        build(Recipe(profile="empty"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_along_can_be_loaded(name: str) -> None:
    assert Recipe.load(name).profile in PROFILES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profil: empty", "did you mean 'profile'"),
        ("profile: real", "did you mean 'real-like'"),
        ("profile: empty\nhazards: [null-primary-key]", "did you mean 'null-primary-keys'"),
        ("profile: empty\nhazards: emoji", "must be a list"),
        ("profile: empty\nscale: 0", "positive"),
        ("profile: empty\nscale: .nan", "positive"),
        ("profile: empty\nscale: many", "must be a number"),
        ("profile: empty\nseed: -1", "negative"),
        ("profile: empty\nseed: 1.5", "whole number"),
        ("seed: 1", "needs the key `profile`"),
        ("- a", "mapping"),
        ("a: [", "no YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_file_and_a_way_out(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError) as caught:
        Recipe.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        Recipe.load(tmp_path / "none.yaml")
    with pytest.raises(BadInputError, match="did you mean 'real-like'"):
        Recipe.load("real-lik")
