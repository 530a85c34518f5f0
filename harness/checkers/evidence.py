"""What every checker is given: the sources as they were, the mapping, and what came out."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from harness.candidate_image import Image
from harness.candidate_services import Service
from harness.database import open_read_only
from harness.errors import InvariantError
from harness.mapping import Mapping
from harness.scenario import Trial
from harness.snapshot import Snapshot

__all__ = ["Evidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence of one run; all files are the harness's own quiescent copies.

    `before` are the sources before the first phase. `after` is the unified database, `tree` the
    whole DevFlow root after `apply`, `rolled_back` what stood there after `rollback`; each is
    None where the run has none. `backups` are the manifest's: `before`, `during`, `after` to
    their folder relative to the DevFlow root. `services` are the candidate's, `trial` says how
    they are tried, `image` what they run from in containers, `environment` what the candidate is
    told, and `work` is a folder for the copies that they work on and for their logs.
    """

    before: Snapshot
    mapping: Mapping
    after: Path | None = None
    tree: Path | None = None
    rolled_back: Snapshot | None = None
    backups: MappingABC[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()
    image: Image | None = None
    environment: MappingABC[str, str] = field(default_factory=dict)
    trial: Trial = field(default_factory=Trial)
    work: Path | None = None

    def open_after(self, *, vectors: bool = False) -> apsw.Connection:
        """Open the unified database read-only, as the only one on its connection.

        No source is attached to it, so that a mapping cannot read the answer off the question,
        and double-quoted names never fall back to strings.
        """
        if self.after is None:
            raise InvariantError("a checker asked for a unified database that this run has not")
        connection = open_read_only(self.after, vectors=vectors, at_rest=True)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        return connection
