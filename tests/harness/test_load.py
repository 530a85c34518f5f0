"""A load on the legacy stand-ins: what it sends and tells, and what the checker makes of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.candidate_services import stand_ins
from harness.checkers.history import check
from harness.checkers.holdings import Holding, holding
from harness.errors import BadInputError, EnvironmentFaultError, InvariantError
from harness.fixture.build import build
from harness.fixture.folder import fixtures_folder
from harness.fixture.recipe import Recipe
from harness.generators.load import Asked, Outcome, Session, Shared, outcome
from harness.history import History
from harness.load import Load
from harness.model import DATABASES, Verdict
from harness.services import Running, free_port, running

SHAPES = {"database-manager": "legacy", "vector-memory": "vector"}


@contextmanager
def served(folder: Path) -> Iterator[dict[str, Running]]:
    tree = folder / "tree"
    build(Recipe(profile="as-planned", seed=7, scale=0.2), tree)
    services = [
        replace(service, directory=tree) for service in stand_ins(fixtures_folder() / "services")
    ]
    with running(services, environment={}, logs=folder / "logs") as found:
        yield found


def urls(found: dict[str, Running]) -> dict[str, str]:
    return {name: service.url for name, service in found.items()}


def final(folder: Path, history: History) -> dict[str, Holding]:
    return {
        service: holding(folder / "tree" / DATABASES[shape], shape, prefix=history.start.prefix)
        for service, shape in SHAPES.items()
    }


def test_a_load_on_the_stand_ins_is_valid_and_reaches_every_kind(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with served(tmp_path) as found:
        with Load(urls(found), log=log, seed=3, connections=8) as load:
            assert load.wait(answered=600, timeout_s=60)
            at_ns = load.mark("hold", "for a moment")
            load.pace(0)
            load.pace(500)
            assert load.wait(answered=100, timeout_s=60)
        assert load.counts.sent == load.counts.ok >= 700
    history = load.history()
    assert [(mark.mark, mark.at_ns) for mark in history.marks] == [("hold", at_ns)]
    kinds = Counter((call.collection, call.kind) for call in history.calls if call.collection)
    assert {kind for _, kind in kinds} == {"create", "update", "delete", "read", "list", "search"}
    assert {name for name, _ in kinds} == {"task", "memory", "session", "usage", "vector"}
    assert {call.client for call in history.calls} == set(range(8))
    result = check(history, final(tmp_path, history))
    assert (result.findings, result.verdict) == ((), Verdict.VALID)
    assert result.examined["acknowledged writes"] > 200
    assert result.examined["values read"] > 200


def test_a_lost_row_is_found_after_a_service_was_killed_amid(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with served(tmp_path) as found, Load(urls(found), log=log, seed=4, connections=8) as load:
        assert load.wait(answered=200, timeout_s=60)
        load.mark("kill")
        found["database-manager"].kill()
        time.sleep(0.2)
        found["database-manager"].start()
        load.mark("back")
        assert load.wait(answered=200, timeout_s=60)
    history = load.history()
    ends = Counter(call.type for call in history.calls)
    assert ends["fail"] + ends["info"] == load.counts.fail + load.counts.info > 0
    assert {call.error for call in history.calls if call.type == "fail"}
    assert not check(history, final(tmp_path, history)).findings
    with closing(sqlite3.connect(tmp_path / "tree" / DATABASES["legacy"])) as database, database:
        # Of a row whose writing or removal nobody knows the end of, the loss would be none.
        unknown = {call.key for call in history.calls if call.type == "info"}
        kept = database.execute(
            "SELECT id FROM task_contexts WHERE id LIKE ? ORDER BY id", (f"{load.prefix}task-%",)
        )
        key = next(key for (key,) in kept.fetchall() if key not in unknown)
        database.execute("DELETE FROM task_contexts WHERE id = ?", (key,))
    (lost,) = check(history, final(tmp_path, history)).findings
    assert (lost.rule, lost.key) == ("history/write-lost", key)


def test_a_service_that_nobody_runs_refuses_and_nothing_is_written(tmp_path: Path) -> None:
    nobody = {"database-manager": f"http://127.0.0.1:{free_port()}"}
    with Load(nobody, log=tmp_path / "log.jsonl", connections=2) as load:
        time.sleep(0.3)
    history = load.history()
    assert load.counts.ok == load.counts.info == 0 < load.counts.fail == len(history.calls)
    assert check(history, {}).verdict is Verdict.UNKNOWN


def test_the_clients_end_with_their_driver(tmp_path: Path) -> None:
    nobody = {"database-manager": f"http://127.0.0.1:{free_port()}"}
    load = Load(nobody, log=tmp_path / "log.jsonl", connections=2)
    load.start()
    assert load.alive
    assert load._child is not None and load._child.stdin is not None
    load._child.stdin.close()
    assert load._child.wait(10) == 0
    load.kill()


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (signal.SIGKILL, InvariantError, "ended with exit code -9"),
        (signal.SIGSTOP, EnvironmentFaultError, "did not end in time"),
    ],
)
def test_clients_that_are_ended_or_stand_still_are_told_and_no_short_history_is_judged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    error: type[Exception],
    says: str,
) -> None:
    nobody = {"database-manager": f"http://127.0.0.1:{free_port()}"}
    load = Load(nobody, log=tmp_path / "log.jsonl", connections=2, timeout_s=0.5)
    load.start()
    monkeypatch.setattr("harness.load._START_S", 0.5)
    assert load._child is not None
    os.kill(load._child.pid, number)
    with pytest.raises(error, match=says):
        load.stop()
    assert not load.alive


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"urls": {"database-manger": "http://x"}}, "did you mean 'database-manager'?"),
        ({"urls": {}}, "a load needs a service"),
        ({"urls": {"database-manager": "x:80"}}, "must begin with http://"),
        ({"rate": 0.0}, "must be more than 0"),
        ({"name": "lo-ad"}, "it may have letters and digits"),
        ({"mix": {"creates": 1}}, "did you mean 'create'?"),
        ({"mix": {"create": -1}}, "it must be a whole number"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_sent(
    tmp_path: Path, given: dict[str, object], says: str
) -> None:
    whole = {"urls": {"database-manager": "http://x"}, "log": tmp_path / "log", **given}
    with pytest.raises(BadInputError) as raised:
        Load(**whole)  # type: ignore[arg-type]
    assert says in str(raised.value)
    assert not (tmp_path / "log").exists()


# Sessions and outcomes, without a service ---------------------------------------------------------


def session(seed: int = 1) -> Session:
    return Session(5, seed=seed, prefix="p-", services=SHAPES, shared=Shared())


def asked(one: Session, *, came: Outcome, times: int = 400) -> list[Asked]:
    found = []
    for _ in range(times):
        found.append(one.next())
        one.settled(found[-1], came)
    return found


def test_a_seed_draws_the_same_requests_again() -> None:
    once, again = (asked(session(), came=Outcome("ok", 200)) for _ in range(2))
    assert once == again
    assert once != asked(session(2), came=Outcome("ok", 200))


def test_no_value_is_sent_twice_and_each_begins_with_its_key() -> None:
    writes = [each for each in asked(session(), came=Outcome("ok", 200)) if each.words]
    values = [each.value for each in writes]
    assert len(values) == len(set(values)) > 100
    assert all((each.words or "").startswith(f"{each.key} v") for each in writes)


def test_after_an_indefinite_answer_a_key_is_not_written_again() -> None:
    drawn = asked(session(), came=Outcome("info"))
    keys = [each.key for each in drawn if each.kind in ("create", "update", "delete")]
    assert len(keys) == len(set(keys)) > 20


def test_a_session_keeps_no_more_than_some_keys() -> None:
    drawn = asked(session(), came=Outcome("ok", 200), times=4_000)
    kinds = Counter(each.kind for each in drawn if each.collection.name == "memory")
    assert kinds["create"] - kinds["delete"] <= 40


CREATE = next(each for each in asked(session(), came=Outcome("ok", 200)) if each.kind == "create")
READ = next(each for each in asked(session(), came=Outcome("ok", 200)) if each.kind == "read")


@pytest.mark.parametrize(
    ("one", "status", "content", "type_"),
    [
        (CREATE, 500, b"", "info"),
        (CREATE, 409, b"{}", "info"),
        (CREATE, 400, b"{}", "fail"),
        (CREATE, 404, b"{}", "fail"),
        (CREATE, 302, b"", "fail"),
        (READ, 503, b"", "fail"),
        (READ, 404, b"{}", "ok"),
        (READ, 200, b"no JSON", "fail"),
        (READ, 200, b"[1]", "fail"),
    ],
)
def test_an_answer_means_what_it_can_mean(
    one: Asked, status: int, content: bytes, type_: str
) -> None:
    assert outcome(one, status, content, prefix="p-").type == type_
