"""The oracle: after the way back each old database equals one that got every write directly.

The same requests go to the unified services on a migrated tree, and to the legacy stand-ins on a
copy of it as it was: real processes, over HTTP.
"""

from __future__ import annotations

import json
import random
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from devflow_tree import REPOSITORY, LegacyTree, Row, quoted, rows, tables, values
from reversing import Reversed
from test_reverse import EVERYTHING, build

from harness.candidate_services import read_services, stand_ins
from harness.errors import BadInputError
from harness.services import running

Asked = tuple[str, str, str, Any]  # service, method, path, body
_TEXTS = ("plain", "é 世 😀", "two\nlines", "  blanks ", '{"a": 1}', "007", "a'b\"c")
_NOW = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{3}Z)?")
_MADE_UP = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

# A trigger of somebody's own on a planned table sees the rows of all sources, once they are one.
_HAZARDS = [name for name in EVERYTHING if name != "unplanned-triggers"]


class Client:
    """Makes requests that a legacy client would make, to things that are there and to others."""

    def __init__(self, before: LegacyTree, seed: int) -> None:
        self.rng = random.Random(seed)
        self.known = {
            "tasks": self._ids(before, "legacy", "task_contexts"),
            "memory": self._ids(before, "legacy", "memory_blocks"),
            "vectors": self._ids(before, "vector", "vector_memories"),
        }

    @staticmethod
    def _ids(before: LegacyTree, source: str, table: str) -> list[str]:
        """Return the plain identifiers: what else stands there no path can name."""
        query = f"SELECT id FROM {table} WHERE typeof(id) = 'text' ORDER BY rowid"
        found = [bytes(row[0][1]) for row in rows(before.path(source), query)]  # type: ignore[index]
        return [text.decode() for text in found if re.fullmatch(rb"[\w-]+", text)]

    def text(self) -> str:
        return self.rng.choice(_TEXTS)

    def new(self, kind: str) -> str:
        name = f"new-{kind}-{self.rng.randrange(10**9)}"
        self.known[kind].append(name)
        return name

    def some(self, kind: str) -> str:
        return self.rng.choice([*self.known[kind], "no-such-thing"])

    def some_vector(self) -> list[float]:
        return [self.rng.choice([0.1, -1.5, 3.25]) for _ in range(self.rng.choice([2, 4]))]

    def ask(self) -> Asked:
        """Return one request."""
        made = self.rng.choice(
            [self._task, self._change, self._change, self._memory, self._embedding, self._vector]
            * 2
            + [self._usage, self._session, self._delete]
        )
        asked: Asked = made()
        return asked

    def _task(self) -> Asked:
        body = {"id": self.new("tasks"), "title": self.text(), "description": self.text()}
        if self.rng.random() < 0.7:
            body["status"] = self.rng.choice(["pending", "running", "completed", "odd", "active"])
            body["priority"] = self.rng.choice(["low", "urgent", "P0", "m-"])
        return "database-manager", "POST", "/tasks", body

    def _change(self) -> Asked:
        body = self.rng.choice(
            [
                {"status": self.rng.choice(["in_progress", "done", "cancelled", "whatever"])},
                {"priority": "high", "title": self.text()},
                {"description": None},
                {"description": self.text(), "status": "blocked"},
                {},
            ]
        )
        return "database-manager", "PUT", f"/tasks/{self.some('tasks')}", body

    def _memory(self) -> Asked:
        body = {"id": self.new("memory"), "content": self.text(), "type": self.text()}
        if self.rng.random() < 0.5:
            body["timestamp"] = self.rng.choice(["yesterday", "2025-01-01T00:00:00.000Z"])
        return "database-manager", "POST", "/memory", body

    def _embedding(self) -> Asked:
        body = {"model_id": self.text(), "embedding": self.some_vector()}
        return "database-manager", "POST", f"/memory/{self.some('memory')}/embeddings", body

    def _vector(self) -> Asked:
        body: dict[str, Any] = {"id": self.new("vectors"), "content": self.text(), "type": "note"}
        body["embedding"] = self.some_vector()
        if self.rng.random() < 0.7:
            body["metadata"] = self.rng.choice(
                [{"é": "😀", "n": [1, 2.5, None, True]}, [], "text", 7, {"a": {"b": "\x7f"}}]
            )
        if self.rng.random() < 0.5:
            body["model_id"] = "a-model"
        return "vector-memory", "POST", "/store", body

    def _usage(self) -> Asked:
        body = {"id": f"usage-{self.rng.randrange(10**9)}", "provider": "openai", "agent_type": "a"}
        told = {"duration_ms": 5, "model": self.rng.choice([None, "gpt-4o"]), "tokens_in": 10}
        if self.rng.random() < 0.5:
            told["cost_usd"] = 0.125
        return "database-manager", "POST", "/usage", {**body, **told, "tokens_out": 20}

    def _session(self) -> Asked:
        body = {"id": f"s-{self.rng.randrange(10**9)}", "name": self.text(), "context": None}
        return "database-manager", "POST", "/sessions", {**body, "metadata": self.text()}

    def _delete(self) -> Asked:
        kind = self.rng.choice(sorted(self.known))
        service = "vector-memory" if kind == "vectors" else "database-manager"
        path = "memories" if kind == "vectors" else kind
        return service, "DELETE", f"/{path}/{self.some(kind)}", None


def answered(url: str, asked: Asked) -> int:
    _, method, path, body = asked
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - a loopback address
        url + path, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def both(direct: LegacyTree, unified: Path, logs: Path) -> Iterator[tuple[Any, Any]]:
    """Serve a tree by the stand-ins, and a unified database by the services; yield their URLs."""
    names = {"database-manager", "vector-memory"}
    old = [
        replace(each, directory=direct.directory)
        for each in stand_ins(REPOSITORY / "fixtures" / "services")
        if each.name in names
    ]
    manifest = yaml.safe_load((REPOSITORY / "devflow" / "candidate.yaml").read_text())
    new = [
        each
        for each in read_services(
            manifest["services"],
            wrong=lambda key, text: BadInputError(f"{key} {text}"),
            directory=REPOSITORY,
            pythonpath=(REPOSITORY,),
        )
        if each.name in names
    ]
    environment = {"DEVFLOW_DB_PATH": str(unified), "DEVFLOW_EMBEDDER": "lexical"}
    with (
        running(old, environment={}, logs=logs / "old") as stand_in,
        running(new, environment=environment, logs=logs / "new") as service,
    ):
        yield (
            {name: each.url for name, each in stand_in.items()},
            {name: each.url for name, each in service.items()},
        )


def comparable(path: Path, known: set[bytes]) -> dict[str, list[Row]]:
    """Return a database's rows; of what the services made up only the form counts."""

    def cell(kind: object, value: Any) -> object:
        if kind != "text" or bytes(value) in known:
            return (kind, value)
        shown = _NOW.sub(lambda m: b"NOW" + (b".ms" if m[1] else b""), bytes(value))
        return (kind, _MADE_UP.sub(b"MADE UP", shown))

    return {
        table: sorted(
            (
                tuple(cell(*value) for value in row)  # type: ignore[misc]
                for row in rows(path, f"SELECT * FROM {quoted(table)}")
            ),
            key=repr,
        )
        for table in tables(path)
        if table != "sqlite_sequence"
    }


def texts_of(path: Path) -> set[bytes]:
    """Return every text that a database holds: what was there before must stay as it is."""
    return {
        bytes(value)  # type: ignore[call-overload]
        for table in tables(path)
        for row in rows(path, f"SELECT * FROM {quoted(table)}")
        for kind, value in row  # type: ignore[misc]
        if kind == "text"
    }


@pytest.mark.parametrize(
    ("profile", "hazards", "seed"),
    [
        ("as-planned", [], 1),
        ("partially-migrated", [], 2),
        ("real-like", _HAZARDS, 3),
    ],
    ids=["as-planned", "partially-migrated", "every-hazard"],
)
def test_each_old_database_equals_one_that_got_every_write_directly(
    tmp_path: Path, profile: str, hazards: list[str], seed: int
) -> None:
    tree = build(profile, tmp_path / "tree", *hazards)
    direct = tree.copy(tmp_path / "direct")
    known = {text for name in ("legacy", "vector") for text in texts_of(direct.path(name))}
    with closing(Reversed(tree, tmp_path)) as found:
        client = Client(found.before, seed)
        refused = 0
        with both(direct, tree.root, tmp_path / "logs") as (old, new):
            for number in range(400):
                asked = client.ask()
                statuses = answered(old[asked[0]], asked), answered(new[asked[0]], asked)
                assert statuses[0] == statuses[1], (number, asked, statuses)
                refused += statuses[0] >= 400
                if number % 50 == 0:
                    found.drain(20)
        assert refused < 100
        found.drain()
        found.forget()
        for name in ("legacy", "vector"):
            expected = comparable(direct.path(name), known)
            assert comparable(found.back.path(name), known) == expected, name
            schema = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
            assert values(found.back.path(name), schema) == values(direct.path(name), schema)
