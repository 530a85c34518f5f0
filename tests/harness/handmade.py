"""Small evidence made by hand: databases from SQL, a mapping from a dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import yaml

from harness.checkers.evidence import Evidence
from harness.mapping import Mapping
from harness.model import DATABASES, CheckResult, Severity
from harness.snapshot import Snapshot


def database(path: Path, sql: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(sql)
    connection.close()
    return path


def tree(directory: Path, files: dict[str, str] | None = None, **databases: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, sql in databases.items():
        database(directory / DATABASES[name], sql)
    for name, text in (files or {}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def mapping(directory: Path, *, schema: str | None = None, **keys: Any) -> Mapping:
    document: dict[str, Any] = {"contract": 1, "tables": {}, **keys}
    if schema is not None:
        (directory / "target.sql").write_text(schema)
        document["schema"] = "target.sql"
    path = directory / "mapping.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return Mapping.load(path)


def evidence(
    directory: Path,
    *,
    sources: dict[str, str],
    unified: str | None,
    schema: str | None = None,
    **keys: Any,
) -> Evidence:
    before = tree(directory / "before", **sources)
    after = database(directory / "after.sqlite", unified) if unified is not None else None
    return Evidence(
        before=Snapshot.of(before), mapping=mapping(directory, schema=schema, **keys), after=after
    )


def rules(result: CheckResult, severity: Severity = Severity.ERROR) -> set[str]:
    return {finding.rule for finding in result.findings if finding.severity is severity}
