"""Reports made by hand, for what no real run shows at once: every verdict, and hostile values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.model import CheckResult, Finding, Severity, Verdict
from harness.report.model import (
    Benchmark,
    Benchmarks,
    Campaign,
    CrashPoint,
    FalseAlarms,
    Figure,
    GitState,
    Kind,
    Ledger,
    LedgerTable,
    Method,
    Mutant,
    MutantMatrix,
    ReportInput,
    Residue,
    RunSection,
    SchemaDecision,
    Step,
    Subject,
    Vouching,
)

HOSTILE = "<script>alert('x')</script>&amp;\"\x00\x1b[31m\u202e|`]]>\ufffe"
CHECKERS = ("schema", "rows", "in-use", "integrity", "ledger", "rollback")


def check(checker: str, *findings: Finding, examined: int = 32) -> CheckResult:
    """One check's result; its verdict follows from the findings."""
    return CheckResult.judged(
        checker,
        findings,
        {"root rows": examined, "legacy rows": 20, "log lines": 180} if examined else {},
        verifies="Every source row can be rebuilt from the unified database, byte by byte.",
        does_not_verify="What a service makes of the rows.",
        details={"unified tables": 24, "slowest table": "memory_blocks", "nested": {"a": [1]}},
    )


def lost_row(text: str = "b1") -> Finding:
    """A finding whose every text is `text`."""
    return Finding(
        rule="rows/value-changed",
        cause=f"The value was cut: {text}",
        database="legacy",
        table="memory_blocks",
        key=text,
        column="content",
        expected=f"text '{text}'",
        actual=f"text '{text[:-1]}'",
        replay=f"make scenario NAME={text}",
    )


def section(name: str = "rehearsal", results: Sequence[CheckResult] | None = None) -> RunSection:
    """A run of all checkers with a ledger, residue and decisions."""
    made = tuple(check(checker) for checker in CHECKERS) if results is None else tuple(results)
    verdicts = [result.verdict for result in made]
    return RunSection(
        name=name,
        verdict=max(verdicts, key=lambda v: v.rank, default=Verdict.UNKNOWN),
        results=made,
        steps=(
            Step(name="copy-databases", phase="backup", elapsed_s=0.08, counts={"pages": 412}),
            Step(name="import-blocks", phase="shadow", elapsed_s=0.31, counts={"rows": 57}),
            Step(name="switch", phase="cutover", elapsed_s=0.02),
        ),
        fixture="copied from a DevFlow tree",
        seed=7,
        elapsed_s=1.9,
        replay=f"make scenario NAME={name}",
        ledger=Ledger(
            root="5f" * 32,
            leaves=57,
            dispositions={"kept": 40, "merged": 12, "split": 5},
            tables=(
                LedgerTable(source="root", table="task_contexts", rows=3, dispositions={"kept": 3}),
                LedgerTable(
                    source="legacy",
                    table="memory_block_embeddings",
                    rows=9,
                    dispositions={"kept": 4, "merged": 5},
                ),
            ),
        ),
        residue=(
            Residue(
                source="legacy",
                table="memory_blocks",
                of=9,
                rows=6,
                values=7,
                columns={"type": 6, "id": 1},
            ),
        ),
        decisions=(
            SchemaDecision(
                source="root",
                type="trigger",
                name="memory_blocks_ai",
                decision="repaired",
                rule="a text id was used as a full-text rowid",
                unified_name="memory_blocks_fts_insert",
            ),
            SchemaDecision(
                source="root",
                type="view",
                name="active_tasks",
                decision="dropped",
                rule="names a column that does not exist",
            ),
        ),
    )


def rehearsal(*results: CheckResult) -> ReportInput:
    """One rehearsal, signed by nobody yet."""
    return ReportInput(
        kind=Kind.REHEARSAL,
        title="Rehearsal of devflow",
        profile="quick",
        candidate="devflow",
        runs=(section(results=results or None),),
        subjects=(Subject(name="candidate", digest="ab" * 32, method=Method.CANDIDATE),),
        versions={"harness": "0.1.0", "python": "3.11.2", "sqlite": "3.54.0", "apsw": "3.54.0.0"},
        started_at="2026-01-02T03:04:05Z",
        finished_at="2026-01-02T03:04:09Z",
        seeds={"fixture": 7},
        git=GitState(commit="0123456789abcdef0123456789abcdef01234567", clean=True),
        vouching=Vouching(key_id="c0ffee" * 10 + "abcd", throwaway=True),
        nonce="00" * 16,
    )


def gate(*, survivor: bool = False, failing: bool = False) -> ReportInput:
    """A gate with scenarios, mutants, a campaign and crash points; sound unless told otherwise."""
    runs = [section(f"hazard-{number:02}") for number in range(31)]
    if failing:
        runs[3] = section("hazard-03", [check("rows", lost_row()), check("schema", examined=0)])
    mutants = [
        Mutant(
            name=f"mutant-{number:02}",
            summary="Drops the second embedding of a block, and says nothing about it.",
            caught_by=("rows", "ledger") if number % 3 else ("in-use",),
        )
        for number in range(44)
    ]
    mutants.append(
        Mutant(name="stale-index", summary="…", caught_by=() if survivor else ("in-use",))
    )
    points = [
        CrashPoint(
            phase=phase, step=f"step-{n}", moment="started", then="resume, rollback", converged=True
        )
        for phase in ("backup", "shadow", "cutover", "validate", "cleanup", "rollback")
        for n in range(14)
    ]
    return replace(
        rehearsal(),
        kind=Kind.GATE,
        title="Gate of devflow",
        runs=tuple(runs),
        mutants=MutantMatrix(checkers=CHECKERS, mutants=tuple(mutants)),
        campaigns=(
            Campaign(
                claim="apply is invertible, rollback restores, a second apply changes nothing",
                profile="quick",
                examples=200,
                elapsed_s=41.5,
                seed=11,
                coverage={"NULL keys": 122, "unplanned tables": 87, "invalid UTF-8": 31},
            ),
        ),
        false_alarms=FalseAlarms(fixtures=500, elapsed_s=40.0),
        crash_points=tuple(points),
        benchmarks=Benchmarks(
            measured_at="2026-01-31T08:15:00Z",
            commit="0123456789abcdef",
            rows=tuple(
                Benchmark(
                    operation="search vectors", memories=size, clients=8, before=12.5, after=after
                )
                for size, after in ((1_000, 250.0), (100_000, 3.0))
            ),
            figures=(Figure(what="learning 10,000 memory blocks", told="4,321 a second"),),
        ),
    )


def broken() -> ReportInput:
    """A rehearsal that found many things, of every severity."""
    findings = [lost_row(f"block-{n}") for n in range(12)]
    warning = Finding(
        rule="integrity/old-orphan",
        cause="An embedding names a block that does not exist; it was so before.",
        severity=Severity.WARNING,
        database="root",
        table="memory_block_embeddings",
    )
    return rehearsal(
        check("rows", *findings), check("integrity", warning), check("in-use", examined=0)
    )


def hostile() -> ReportInput:
    """A report in which every name and value would like to be markup."""
    base = gate(survivor=True)
    finding = replace(lost_row(HOSTILE), rule=HOSTILE)
    result = replace(
        check("rows", finding),
        verifies=HOSTILE,
        examined={HOSTILE: 1},
        details={HOSTILE: HOSTILE},
    )
    run = replace(
        section(HOSTILE, [result]),
        summary=HOSTILE,
        fixture=HOSTILE,
        steps=(Step(name=HOSTILE, phase=HOSTILE, outcome=HOSTILE),),
    )
    assert base.mutants is not None
    mutant = replace(base.mutants.mutants[-1], name=HOSTILE, summary=HOSTILE)
    return replace(
        base,
        title=HOSTILE,
        candidate=HOSTILE,
        runs=(run,),
        mutants=replace(base.mutants, mutants=(mutant,)),
        crash_points=(replace(base.crash_points[0], converged=False, text=HOSTILE),),
        campaigns=(replace(base.campaigns[0], claim=HOSTILE, failures=(HOSTILE,)),),
        benchmarks=Benchmarks(
            measured_at=HOSTILE,
            commit=HOSTILE,
            rows=(Benchmark(operation=HOSTILE, memories=1, clients=1, before=1.0, after=2.0),),
            figures=(Figure(what=HOSTILE, told=HOSTILE),),
        ),
    )


def nothing() -> ReportInput:
    """A gate in which nothing ran."""
    return replace(rehearsal(), kind=Kind.GATE, runs=(), subjects=(), vouching=None)


INPUTS: dict[str, Callable[[], ReportInput]] = {
    "rehearsal": rehearsal,
    "gate": gate,
    "failing gate": lambda: gate(survivor=True, failing=True),
    "broken": broken,
    "hostile": hostile,
    "nothing": nothing,
}
