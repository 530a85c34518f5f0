"""What a report is made of, as frozen data: `ReportInput` and its parts. No I/O.

A rehearsal has one run; a gate has many, and figures of mutants, properties and crash points
beside them. The verdict is derived from all of them, so that no part can disagree with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.model import CheckResult, Verdict, worst

__all__ = [
    "Benchmark",
    "Benchmarks",
    "Campaign",
    "CrashPoint",
    "FalseAlarms",
    "GitState",
    "Kind",
    "Ledger",
    "LedgerTable",
    "Method",
    "Mutant",
    "MutantMatrix",
    "ReportInput",
    "Residue",
    "RunSection",
    "SchemaDecision",
    "Step",
    "Subject",
    "Vouching",
]


class Kind(StrEnum):
    """What was run."""

    REHEARSAL = "rehearsal"
    GATE = "gate"
    SCENARIO = "scenario"
    AUDIT = "audit"


class Method(StrEnum):
    """How a subject's digest is computed, so that somebody else can compute it again."""

    DATABASE = "database"  # harness.snapshot.database_digest of one SQLite file
    SNAPSHOT = "snapshot"  # harness.snapshot.Snapshot.of(directory).digest()
    FILE = "file"  # SHA-256 of the bytes
    TREE = "tree"  # harness.attest.tree_digest of files
    CANDIDATE = "candidate"  # harness.candidate.Candidate.load(manifest).digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing that the verdict speaks about, bound by its SHA-256 in hexadecimal.

    `name` is unique in a report (`before/data/devflow.sqlite`, `after/devflow.sqlite`,
    `candidate`, `mapping`, `policy`, `scenario/null-primary-keys`). `path` is where `verify`
    finds it, relative to the report's folder; None where only the digest was kept. A database's
    `digest` is of its logical content; `sha256` is of the bytes of the copy at `path`, if kept.
    """

    name: str
    digest: str
    method: Method
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened in a run, in order: `outcome` is `done`, `skipped`, `failed`, …."""

    name: str
    phase: str | None = None
    outcome: str = "done"
    elapsed_s: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTable:
    """The fate of one source table's rows: `dispositions` counts them by rule."""

    source: str
    table: str
    rows: int
    dispositions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Every source row accounted for once: the Merkle root over `leaves` leaves."""

    root: str
    leaves: int
    dispositions: Mapping[str, int]
    tables: tuple[LedgerTable, ...] = ()
    path: str | None = None  # ledger.sqlite relative to the report's folder, where it was kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """How much of one source table lives only beside its unified rows.

    Of `of` rows, `rows` have anything there: `values` values, by column in `columns`.
    """

    source: str
    table: str
    of: int
    rows: int
    values: int
    columns: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDecision:
    """What became of one object of a source's schema, by which rule.

    The fields are those of the mapping's `decisions`; `decision` is such as `repaired`,
    `dropped`, `merged`, `kept`.
    """

    source: str
    type: str
    name: str
    decision: str
    rule: str
    unified_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """The candidate killed once: where, what was tried after it, and whether it converged."""

    phase: str
    step: str
    moment: str  # `started` or `done`: what the candidate had said last
    then: str  # `resume`, `rollback`, `resume, rollback`
    converged: bool
    run: str | None = None
    text: str | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """One run of the candidate on one fixture, judged by checkers.

    `expectation` says what this run should show where that is not a plain success
    (`is refused: data/vector.sqlite is not a database`); `verdict` is already against it.
    `replay` is the line that runs it again, `file` the scenario's path in the checkout.
    """

    name: str
    verdict: Verdict
    results: tuple[CheckResult, ...] = ()
    steps: tuple[Step, ...] = ()
    summary: str = ""
    fixture: str = ""
    seed: int | None = None
    expectation: str | None = None
    elapsed_s: float = 0.0
    replay: str | None = None
    file: str | None = None
    ledger: Ledger | None = None
    residue: tuple[Residue, ...] = ()
    decisions: tuple[SchemaDecision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A migration broken on purpose and the checkers that caught it; none means it survived."""

    name: str
    summary: str
    caught_by: tuple[str, ...]
    fixture: str = ""
    elapsed_s: float = 0.0

    @property
    def caught(self) -> bool:
        """Whether at least one checker called it invalid."""
        return bool(self.caught_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantMatrix:
    """The matrix mutant × checker; `checkers` are the columns in their order.

    `defined` is of how many mutants these were drawn, 0 where they are all.
    """

    checkers: tuple[str, ...]
    mutants: tuple[Mutant, ...]
    defined: int = 0

    @property
    def caught(self) -> int:
        """How many were caught."""
        return sum(mutant.caught for mutant in self.mutants)

    @property
    def rate(self) -> float:
        """The share caught, 0..1; 0 of none at all."""
        return self.caught / len(self.mutants) if self.mutants else 0.0

    @property
    def verdict(self) -> Verdict:
        """Invalid where one survived, unknown where there was none."""
        if not self.mutants:
            return Verdict.UNKNOWN
        return Verdict.VALID if self.caught == len(self.mutants) else Verdict.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Generated databases put through a claim that must hold: how many, how fast, what failed.

    `coverage` counts examples by what they contained. `failures` are replay lines.
    """

    claim: str
    profile: str
    examples: int
    elapsed_s: float
    seed: int | None = None
    failures: tuple[str, ...] = ()
    coverage: Mapping[str, int] = field(default_factory=dict)

    @property
    def per_minute(self) -> float:
        """Examples a minute."""
        return 60 * self.examples / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def verdict(self) -> Verdict:
        """Invalid where an example failed, unknown where none was tried."""
        if self.failures:
            return Verdict.INVALID
        return Verdict.VALID if self.examples else Verdict.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarms:
    """Built fixtures with random hazards that a sound migration must pass; `alarms` are replays."""

    fixtures: int
    alarms: tuple[str, ...] = ()
    elapsed_s: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Invalid where a checker cried wolf, unknown where nothing was tried."""
        if self.alarms:
            return Verdict.INVALID
        return Verdict.VALID if self.fixtures else Verdict.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One operation measured before and after: requests a second of all clients together."""

    operation: str
    memories: int
    clients: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """How many times as fast it is after; 0 where it was not measured before."""
        return self.after / self.before if self.before > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing more that was measured, and what it came to, in words."""

    what: str
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarks:
    """What `make bench` measured last, at which commit: told beside the verdict, no part of it.

    `figures` are those of vector search, routing, knowledge and the state machine.
    """

    measured_at: str
    commit: str
    rows: tuple[Benchmark, ...]
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """The commit that the harness ran from; `clean` says that the tree had no other changes."""

    commit: str
    clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouching:
    """The key that signs the report; nobody vouches for it where the key is a throw-away one."""

    key_id: str
    throwaway: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInput:
    """All that a report says. Times are UTC in ISO 8601 with a `Z`.

    `versions` has `harness`, `python`, `sqlite`, `apsw` and more. `report.write` turns this
    into the files; `harness.attest.attest` signs them. `left_out` says, a line each, what a
    larger profile would have run too, so that a part is not taken for the whole; `not_examined`
    what this machine could not, and why. `manifest` is the
    candidate's, by its path in the checkout where it is there.
    """

    kind: Kind
    title: str
    runs: tuple[RunSection, ...]
    subjects: tuple[Subject, ...]
    versions: Mapping[str, str]
    started_at: str
    finished_at: str
    seeds: Mapping[str, int] = field(default_factory=dict)
    git: GitState | None = None
    profile: str | None = None
    candidate: str = ""
    manifest: str = "candidate.yaml"
    left_out: tuple[str, ...] = ()
    not_examined: tuple[str, ...] = ()
    mutants: MutantMatrix | None = None
    campaigns: tuple[Campaign, ...] = ()
    false_alarms: FalseAlarms | None = None
    crash_points: tuple[CrashPoint, ...] = ()
    benchmarks: Benchmarks | None = None
    vouching: Vouching | None = None
    expires_at: str | None = None
    nonce: str | None = None
    counter: int | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of every part; of none at all it is unknown, never valid."""
        return worst(self._verdicts())

    def _verdicts(self) -> Iterable[Verdict]:
        yield from (run.verdict for run in self.runs)
        yield from (campaign.verdict for campaign in self.campaigns)
        if self.mutants is not None:
            yield self.mutants.verdict
        if self.false_alarms is not None:
            yield self.false_alarms.verdict
        if not all(point.converged for point in self.crash_points):
            yield Verdict.INVALID
