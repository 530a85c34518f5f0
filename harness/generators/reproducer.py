"""Writes a plan as a scenario file that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import yaml

from harness.fixture.folder import fixtures_folder
from harness.generators.plan import DatabasePlan, TreePlan

__all__ = ["scenario_document", "write_scenario"]


def _schema_statements(name: str) -> list[str]:
    text = (fixtures_folder() / "schema" / f"{name}.sql").read_text(encoding="utf-8")
    statements: list[str] = []
    gathered = ""
    for line in text.splitlines():
        if not gathered and (not line.strip() or line.startswith("--")):
            continue
        gathered += line + "\n"
        if apsw.complete(gathered):
            statements.append(gathered.strip().removesuffix(";"))
            gathered = ""
    return statements


def _statements(name: str, plan: DatabasePlan) -> Iterator[str]:
    """Yield the whole database as SQL, with every trigger behind the rows, so that none fires."""
    made = [*_schema_statements(name), *plan.statements()]
    triggers = [statement for statement in made if statement.startswith("CREATE TRIGGER")]
    if plan.wal:
        yield "PRAGMA wal_autocheckpoint=0"
    yield from (statement for statement in made if statement not in triggers)
    yield from triggers


def _log(log: bytes) -> str | dict[str, str]:
    try:
        text = log.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character == "\n" for character in text):
        return text
    return {"base64": base64.b64encode(log).decode()}


def scenario_document(
    plan: TreePlan, *, name: str, description: str, candidate: Path | None = None
) -> dict[str, Any]:
    """Return a scenario's keys and values that play `plan` against `candidate`."""
    inline: dict[str, list[str] | None] = {}
    for database, made in plan.databases().items():
        if made.state != "missing":
            inline[database] = None if made.state == "empty" else list(_statements(database, made))
    fixture: dict[str, Any] = {
        "inline": inline,
        "config": "as-planned" if plan.configured else "none",
    }
    if plan.log is not None:
        fixture["log"] = _log(plan.log)
    document: dict[str, Any] = {"name": name, "description": description, "fixture": fixture}
    if candidate is not None:
        document["candidate"] = str(candidate)
    return document


class _Dumper(yaml.SafeDumper):
    """YAML with statements of several lines written as they are."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def write_scenario(document: dict[str, Any], path: Path) -> Path:
    """Write a scenario's document to `path` and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    path.write_text(text, encoding="utf-8")
    return path
