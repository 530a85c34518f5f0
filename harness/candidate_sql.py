"""A candidate that is one SQL script: run in one transaction on the root database.

The other databases are attached read-only as `legacy` and `vector`; one that is missing is an
empty database. The script may neither end the transaction nor attach files.
"""

from __future__ import annotations

import time
import urllib.parse
from pathlib import Path

import apsw

from harness.candidate_speech import Outcome
from harness.database import attach, load_vectors
from harness.errors import BadInputError
from harness.model import DATABASES

__all__ = ["SqlDriver"]

_DENIED = {
    apsw.SQLITE_ATTACH: "attach a file",
    apsw.SQLITE_DETACH: "detach a database",
    apsw.SQLITE_TRANSACTION: "begin or end a transaction",
}
_PROGRESS_STEPS = 100_000


class SqlDriver:
    """Runs a script as a candidate: no phases, no steps; its rollback is the transaction's."""

    def __init__(self, script: Path, *, timeout_s: float) -> None:
        """Read `script`; BadInputError where it is no text."""
        self._timeout_s = timeout_s
        try:
            self._sql = script.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"the script {script} cannot be read as UTF-8: {error}") from error

    def plan(self, tree: Path) -> Outcome:
        """A script has no steps."""
        return _outcome("plan", state="none")

    def status(self, tree: Path) -> Outcome:
        """A script keeps no journal."""
        return _outcome("status", state="none")

    def apply(self, tree: Path, *, until: str = "cleanup") -> Outcome:
        """Run the script and commit; `until` says nothing to a candidate without phases."""
        return self._run(tree, op="apply", commit=True)

    def rollback(self, tree: Path) -> Outcome:
        """Run the script and take the transaction back."""
        return self._run(tree, op="rollback", commit=False)

    def _run(self, tree: Path, *, op: str, commit: bool) -> Outcome:
        began = time.monotonic()
        denied: list[str] = []
        root = urllib.parse.quote(str((tree / DATABASES["root"]).resolve()))
        connection = apsw.Connection(
            f"file:{root}",
            flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI,
        )

        def authorize(action: int, *_names: str | None) -> int:
            if action in _DENIED:
                denied.append(_DENIED[action])
                return apsw.SQLITE_DENY
            return apsw.SQLITE_OK

        try:
            connection.set_busy_timeout(5_000)
            load_vectors(connection)
            for name in ("legacy", "vector"):
                _attach_source(connection, tree / DATABASES[name], name)
            connection.execute("BEGIN IMMEDIATE")
            connection.authorizer = authorize
            connection.set_progress_handler(
                lambda: time.monotonic() - began > self._timeout_s, _PROGRESS_STEPS
            )
            try:
                connection.execute(self._sql)
            finally:
                connection.authorizer = None
                connection.set_progress_handler(None)
            connection.execute("COMMIT" if commit else "ROLLBACK")
        except apsw.Error as error:
            text = f"a script may not {denied[-1]}" if denied else str(error)
            return _outcome(op, state=None, error=f"sql: {text}", began=began)
        finally:
            connection.close(True)
        return _outcome(op, state="cleanup" if commit else "none", began=began)


def _attach_source(connection: apsw.Connection, path: Path, name: str) -> None:
    if path.is_file() and path.stat().st_size:
        attach(connection, path, name)
    else:
        connection.execute(f"ATTACH ':memory:' AS {name}")


def _outcome(
    op: str, *, state: str | None, error: str | None = None, began: float | None = None
) -> Outcome:
    return Outcome(
        op=op,
        exit_code=0 if error is None else 1,
        definite=True,
        state=state,
        events=(),
        error=error,
        elapsed_s=0.0 if began is None else time.monotonic() - began,
    )
