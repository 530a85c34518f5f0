"""Writers past the gates: what they write is told, and a fence is felt and told, too."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from harness.checkers.history import check
from harness.checkers.holdings import Shape, holding, without_vector
from harness.errors import InvariantError
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.history import History
from harness.model import DATABASES, Verdict
from harness.services import free_port
from harness.snapshot import REGISTRY_LOG
from harness.straight import ROOT, Straight

PLACES = {
    "database-manager": ("legacy", Shape.LEGACY),
    "vector-memory": ("vector", Shape.VECTOR),
    ROOT: ("root", Shape.ROOT),
}
FENCE = (
    "CREATE TRIGGER fence_{0} BEFORE {0} ON memory_blocks BEGIN SELECT RAISE(ABORT, 'moved'); END"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    build(Recipe(profile="as-planned", seed=7, scale=0.2), tmp_path / "tree")
    return tmp_path / "tree"


def written(straight: Straight, writes: int) -> Iterator[History]:
    """Yield the history again and again until it has so many more writes."""
    deadline = time.monotonic() + 60
    wanted = len(straight.history().calls) + writes
    while len(straight.history().calls) < wanted:
        assert time.monotonic() < deadline
        yield straight.history()
        time.sleep(0.02)


def judged(tree: Path, history: History) -> Verdict:
    final = {
        service: holding(tree / DATABASES[source], shape, prefix=history.start.prefix)
        for service, (source, shape) in PLACES.items()
    }
    return check(history, final).verdict


def test_what_is_written_past_the_gates_is_told_and_kept(tree: Path, tmp_path: Path) -> None:
    with Straight(tree, log=tmp_path / "straight.jsonl", seed=3) as straight:
        straight.hurry(True)
        list(written(straight, 300))
        straight.rest()
        history = straight.history()
        assert judged(tree, history) is Verdict.VALID
        assert (tree / REGISTRY_LOG).read_bytes() == straight.logged
        assert {call.service for call in history.calls} == set(PLACES)
        assert {call.kind for call in history.calls} == {"create", "update", "delete"}
        assert {call.type for call in history.calls} == {"ok"}
        time.sleep(0.1)
        assert len(straight.history().calls) == len(history.calls)
        straight.resume()
        list(written(straight, 10))


def test_a_write_that_a_fence_refuses_is_told_as_one_that_did_not_happen(
    tree: Path, tmp_path: Path
) -> None:
    with Straight(tree, log=tmp_path / "straight.jsonl") as straight:
        straight.hurry(True)
        list(written(straight, 100))
        with closing(apsw.Connection(str(tree / DATABASES["legacy"]))) as legacy:
            legacy.set_busy_timeout(10_000)
            for event in ("INSERT", "UPDATE", "DELETE"):
                legacy.execute(FENCE.format(event))
        list(written(straight, 100))
        straight.rest()
        history = straight.history()
    refused = [call for call in history.calls if call.type == "fail"]
    assert refused
    assert {call.collection for call in refused} == {"memory"}
    assert judged(tree, history) is Verdict.VALID


def test_the_log_is_left_alone_once_its_service_has_moved(tree: Path, tmp_path: Path) -> None:
    with Straight(tree, log=tmp_path / "straight.jsonl") as straight:
        straight.let_log(False)
        straight.rest()
        before = straight.logged
        straight.resume()
        list(written(straight, 20))
        straight.rest()
        assert straight.logged == before
        straight.let_log(True)
        straight.resume()
        list(written(straight, 20))
        straight.rest()
        added = straight.logged.removeprefix(before).splitlines()
    assert added
    assert all(json.loads(line)["service"] == "model-registry" for line in added)


def test_a_disk_that_takes_no_more_of_the_log_ends_no_writer(tree: Path, tmp_path: Path) -> None:
    log = tree / REGISTRY_LOG
    with Straight(tree, log=tmp_path / "straight.jsonl") as straight:
        straight.rest()
        before = straight.logged
        kept = log.rename(tmp_path / "kept.log")
        log.symlink_to("/dev/full")
        straight.resume()
        list(written(straight, 40))
        straight.rest()
        assert straight.logged == before
        log.unlink()
        kept.rename(log)
        straight.resume()
        list(written(straight, 40))
        straight.rest()
        assert straight.logged.removeprefix(before)
        assert log.read_bytes() == straight.logged


def test_idle_ones_write_nothing(tree: Path, tmp_path: Path) -> None:
    with Straight(tree, log=tmp_path / "straight.jsonl", idle=True) as straight:
        time.sleep(0.2)
        straight.rest()
        assert straight.history().calls == ()


def test_nobody_can_be_hurried_before_the_beginning(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InvariantError, match="enter it first"):
        Straight(tree, log=tmp_path / "straight.jsonl").hurry(True)


def test_a_memory_without_its_vector_is_seen(tree: Path) -> None:
    path = tree / DATABASES["vector"]
    with closing(sqlite3.connect(path)) as connection, connection:
        for key, vector in (("load1-vector-1", b"\0\0\0\0"), ("load1-vector-2", b"")):
            connection.execute(
                "INSERT INTO vector_memories (id, content, type, embedding_vector, dimensions,"
                " model_id) VALUES (?, 'x', 'note', ?, 1, 'm')",
                (key, vector),
            )
    assert without_vector(path, Shape.VECTOR, prefix="load1-") == ("load1-vector-2",)


def test_a_free_port_is_none_that_an_outgoing_connection_is_given() -> None:
    given = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert all(1024 < free_port() < int(given[0]) for _ in range(50))
