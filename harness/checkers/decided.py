"""What became of each schema object of the sources: it stands in the unified schema, or why not.

The candidate's list of decisions is a claim. What it calls kept must mean the same, what it calls
merged or repaired must be there, what it calls dropped must be dead in the source (tried on a
copy of its schema) or say the same as something that was not dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import apsw

from harness.checkers.ddl import index_shape, same_words
from harness.checkers.ddl_diff import Catalog, Item, Kind, catalog_of, shape_of
from harness.checkers.evidence import Evidence
from harness.checkers.firing import fire, fire_alone
from harness.checkers.throwaway import throwaway_schema
from harness.checkers.working import select_problem
from harness.database import columns_of, load_vectors, quote
from harness.mapping import TableMapping
from harness.model import DATABASES, Finding, Severity

__all__ = ["Account", "Claims", "claims_of", "source_objects"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the candidate's list of decisions."""

    decision: str
    rule: str
    unified_name: str | None


@dataclass(frozen=True, slots=True)
class Claims:
    """What the candidate says of the sources' schemas; names are in lower case."""

    carried: dict[tuple[str, str], str] = field(default_factory=dict)
    decisions: dict[tuple[str, str, bool], Decision] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Every unified name that a claim speaks of, in lower case."""
        named = {d.unified_name.lower() for d in self.decisions.values() if d.unified_name}
        return frozenset(named | {name.lower() for name in self.carried.values()})


@dataclass(slots=True)
class Account:
    """How the source objects were found: figures by what became of them, and findings.

    `twins` are the unified objects, in lower case, that mean the same as one of a source.
    """

    objects: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    listed: list[dict[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    twins: set[str] = field(default_factory=set)
    dead_carried: set[str] = field(default_factory=set)

    def note(self, source: str, item: Item, outcome: str, rule: str = "") -> None:
        """Count one object; what was repaired, merged or dropped is listed for the report."""
        self.objects += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome in ("repaired", "merged", "dropped"):
            self.listed.append(
                {"source": source, "type": item.kind.value, "name": item.name}
                | {"decision": outcome, "rule": rule}
            )


def claims_of(evidence: Evidence) -> Claims:
    """Run the mapping's `carried` and `decisions`; a query that fails is a finding."""
    findings: list[Finding] = []

    def rows(name: str, sql: str | None) -> list[tuple[str | None, ...]]:
        if sql is None:
            return []
        connection = evidence.open_after()
        try:
            return [
                tuple(None if value is None else str(value) for value in row)
                for row in connection.execute(sql)
            ]
        except (apsw.Error, UnicodeDecodeError) as error:
            cause = f"the mapping's `{name}` query fails on the unified database: {error}"
            findings.append(Finding(rule="schema/query-failed", cause=cause, database="unified"))
            return []
        finally:
            connection.close()

    carried = {
        (str(row[0]), str(row[1]).lower()): str(row[2])
        for row in rows("carried", evidence.mapping.carried)
        if len(row) >= 3
    }
    decisions = {
        (str(row[0]), str(row[2]).lower(), row[1] == "trigger"): Decision(
            str(row[3]), str(row[4]), row[5]
        )
        for row in rows("decisions", evidence.mapping.decisions)
        if len(row) >= 6
    }
    return Claims(carried, decisions, tuple(findings))


def source_objects(evidence: Evidence, claims: Claims, unified: Catalog) -> Account:
    """Account for every object of every source; see the module's first lines."""
    account = Account(findings=list(claims.findings))
    for source in DATABASES:
        if evidence.before.state(source) != "sqlite":
            continue
        connection = evidence.before.open(source)
        try:
            load_vectors(connection)
            catalog = catalog_of(connection)
            with throwaway_schema(connection) as copy:
                _Accountant(evidence, claims, unified, account, source, copy, catalog).run()
        finally:
            connection.close()
    return account


@dataclass(slots=True)
class _Accountant:
    """Accounts for one source's objects; what is tried, on a copy of its schema alone."""

    evidence: Evidence
    claims: Claims
    unified: Catalog
    account: Account
    source: str
    copy: apsw.Connection
    catalog: Catalog

    def run(self) -> None:
        for item in self.catalog.values():
            planned = self.planned(item.name)
            if item.kind is Kind.TABLE and planned is not None:
                self.planned_table(item, planned)
                continue
            decision = self.decision(item)
            home = self.claims.carried.get((self.source, item.table.lower()))
            if decision is not None and decision.decision not in ("kept", "carried"):
                self.decided(item, decision)
            elif twin := self.twin(item, home, decision.unified_name if decision else None):
                self.account.note(self.source, item, "carried" if home else "kept")
                self.account.twins.add(twin.name.lower())
                if item.kind is not Kind.TABLE and self.dead(item):
                    self.account.dead_carried.add(twin.name.lower())
            elif decision is not None:
                self.fault(
                    item,
                    "schema/kept-changed",
                    f"is said to be {decision.decision}, but nothing in the unified schema means"
                    " the same",
                    actual=self.unified_sql(decision.unified_name or item.name, item.kind),
                )
            else:
                self.fault(
                    item,
                    "schema/object-unaccounted",
                    "is neither in the unified schema nor among the decisions",
                )

    def planned(self, table: str) -> TableMapping | None:
        for (source, name), mapping in self.evidence.mapping.tables.items():
            if source == self.source and name.lower() == table.lower():
                return mapping
        return None

    def decision(self, item: Item) -> Decision | None:
        key = (self.source, item.name.lower(), item.kind is Kind.TRIGGER)
        return self.claims.decisions.get(key)

    def planned_table(self, item: Item, mapping: TableMapping) -> None:
        self.account.note(self.source, item, "planned")
        for column in columns_of(self.copy, item.name):
            if not column.generated and mapping.inverse_of(column.name) is None:
                self.fault(
                    item,
                    "schema/column-unaccounted",
                    f"has a column {column.name} that the mapping does not know",
                    column=column.name,
                )
        for target in mapping.targets:
            if (Kind.TABLE, target.lower()) not in self.unified:
                cause = f"is said to live in {target}, which is no table of the unified database"
                self.fault(item, "schema/target-missing", cause)

    def twin(self, item: Item, home: str | None, named: str | None) -> Item | None:
        """Return the unified object that means the same; a carried table's may have other names."""
        by_name = self.unified.get((item.kind, (named or item.name).lower()))
        if by_name and (self.same(item, by_name) or shape_of(item) == shape_of(by_name)):
            return by_name
        if item.kind is Kind.TABLE:
            moved = self.unified.get((Kind.TABLE, (home or "").lower()))
            return moved if moved and self.same(item, moved) else None
        table = (home or item.table).lower()
        return next(
            (
                other
                for other in self.unified.values()
                if other.kind is item.kind
                and (item.kind in (Kind.VIRTUAL, Kind.VIEW) or other.table.lower() == table)
                and self.same(item, other)
            ),
            None,
        )

    def same(self, item: Item, other: Item) -> bool:
        renamed = {
            table: name.lower()
            for (source, table), name in self.claims.carried.items()
            if source == self.source
        }
        renamed[item.name.lower()] = other.name.lower()
        return item.sql == other.sql or same_words(item.sql, other.sql, renamed=renamed)

    def decided(self, item: Item, decision: Decision) -> None:
        self.account.note(self.source, item, decision.decision, decision.rule)
        if decision.decision == "dropped":
            if not self.dead(item) and not self.says_again(item):
                self.fault(
                    item,
                    "schema/dropped-alive",
                    f"was dropped by the rule {decision.rule!r}, but it works in the source and"
                    " nothing that was kept means the same",
                )
        elif decision.decision in ("merged", "repaired"):
            name = (decision.unified_name or item.name).lower()
            kinds = list(Kind) if item.kind is Kind.TABLE else [item.kind]
            if not any((kind, name) in self.unified for kind in kinds):
                self.fault(
                    item,
                    f"schema/{decision.decision}-missing",
                    f"is said to be {decision.decision} as {name}, which is not in the unified"
                    " schema",
                )
            elif decision.decision == "merged":
                self.merged(item, name)
        else:
            cause = f"has a decision {decision.decision!r} that the contract does not know"
            self.fault(item, "schema/decision-unknown", cause)

    def merged(self, item: Item, name: str) -> None:
        """Warn of a merger into something that stands on another table altogether."""
        other = self.unified.get((item.kind, name))
        if other is None or item.kind not in (Kind.INDEX, Kind.TRIGGER):
            return
        planned = self.planned(item.table)
        carried = self.claims.carried.get((self.source, item.table.lower()), item.table)
        homes = {item.table.lower(), carried.lower()}
        homes |= {target.lower() for target in planned.targets} if planned else set()
        if other.table.lower() not in homes:
            cause = f"is said to be merged into {other.name}, which is on another table"
            self.fault(item, "schema/merged-elsewhere", cause, severity=Severity.WARNING)

    def dead(self, item: Item) -> bool:
        """Whether an object does not work in the source; what cannot be told counts as alive."""
        if item.kind in (Kind.VIEW, Kind.VIRTUAL):
            there = self.copy.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (item.name,))
            return there.get is not None and select_problem(self.copy, item.name) is not None
        if item.kind is Kind.TRIGGER:
            alone = fire_alone(self.copy, item)
            return (
                alone.outcome == "failed"
                and "malformed" not in alone.error  # an index's state, not the trigger's fault
                and fire(self.copy, item).outcome != "fired"
            )
        return False

    def says_again(self, item: Item) -> bool:
        """Whether something that was not dropped means the same, in the source or unified."""
        if item.kind is Kind.INDEX and self.automatic(item):
            return True
        mine = shape_of(item)
        others = [
            other
            for other in self.catalog.values()
            if other is not item
            and ((d := self.decision(other)) is None or d.decision != "dropped")
        ]
        return any(
            other.kind is item.kind and shape_of(other) == mine
            for other in (*others, *self.unified.values())
        )

    def automatic(self, item: Item) -> bool:
        """Whether an index repeats one that a UNIQUE or a primary key brings along by itself."""
        shape = index_shape(item.sql)
        for _, name, _, origin, *_ in self.copy.execute(f"PRAGMA index_list({quote(item.table)})"):
            if origin in ("u", "pk") and not shape.where:
                info = self.copy.execute(f"PRAGMA index_info({quote(str(name))})")
                if tuple(str(column).lower() for _, _, column in info) == shape.parts:
                    return True
        return False

    def unified_sql(self, name: str, kind: Kind) -> str | None:
        found = self.unified.get((kind, name.lower()))
        return " ".join(found.sql.split())[:300] if found else None

    def fault(
        self,
        item: Item,
        rule: str,
        cause: str,
        *,
        severity: Severity = Severity.ERROR,
        column: str | None = None,
        actual: str | None = None,
    ) -> None:
        self.account.findings.append(
            Finding(
                rule=rule,
                severity=severity,
                cause=f"the {item.kind} {item.name} of {self.source} {cause}",
                database=self.source,
                table=item.table,
                key=item.name,
                column=column,
                expected=" ".join(item.sql.split())[:300],
                actual=actual,
            )
        )
