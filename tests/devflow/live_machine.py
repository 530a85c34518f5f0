"""A live migration as a state machine: writes, steps, kills and ways back, against plain dicts.

All in one process, over the real modules and real files: no HTTP, and a gate that is an object. A
kill is a statement that is never made: from it on nothing more is, not even what would undo it, and
what was open is only closed. Templates, made by real steps once a process, let a run begin late.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import apsw
from devflow_tree import LegacyTree
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from live_machine_parts import (
    BEGINNINGS,
    BLOCK,
    FORWARD,
    KILL,
    KILL_AFTER_MAX,
    ROOT,
    SERVICE,
    TABLES,
    TASK,
    VECTOR,
    Gate,
    KilledError,
    laid,
    schema_of,
    schemas_of,
    steps_of,
    stored_in,
    template,
    unified_table,
    write_legacy,
    write_unified,
)
from test_live_catching_up import copied

from devflow.live import capture
from devflow.live.authority import LEGACY, SERVICES, SOURCE_OF, UNIFIED, authority_of
from devflow.live.catching_up import behind, catch_up
from devflow.live.following import following
from devflow.migration.database import has_table, open_writable
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree
from devflow.services.store import opened

__all__ = ["REACHED", "LiveMachine"]

REACHED: Counter[str] = Counter()
"""How many runs of this process came to what."""

# The machine -------------------------------------------------------------------------------------

KEYS = st.integers(0, 4)
VALUES = st.sampled_from(["", "a", "é 世", "two words", "007"])
KILLS = st.integers(0, KILL_AFTER_MAX) | st.integers(0, 40) | st.none()


class LiveMachine(RuleBasedStateMachine):
    """One DevFlow, its services' writes, and its migration's steps, killed at any statement."""

    def __init__(self) -> None:
        super().__init__()
        self.at: Tree | None = None
        self.reached: set[str] = set()
        self.ended = self.returns = False

    @initialize(
        beginning=st.sampled_from(BEGINNINGS),
        rows=st.sampled_from([0, 2]),
        returns=st.sampled_from([False, True, False]),
    )
    def begin(self, beginning: str, rows: int, returns: bool) -> None:
        """Take a template, and what stands in it as the model; say whether it goes back at last."""
        self.returns = returns
        self.original = template("none", rows)
        self._take(laid(beginning, rows))
        self.forward = {"copied": 0, "put": 1, "moved": 4, "written": 4}[beginning]
        self.back: int | None = None
        self.model: dict[str, dict[str, str]] = {
            collection: {f"{collection}{n}": f"v{n}" for n in range(rows)} for collection in TABLES
        }
        if beginning == "written":
            self.model[TASK]["task0"] = "later"
            self.model[BLOCK]["block8"] = "new"
            self.model[VECTOR].pop("vector0", None)
            self.reached.add("writes after cutover")

    def _take(self, folder: Path) -> None:
        self.at = Tree.at(folder)
        # As services do, they keep open what they use.
        self.open = {
            source: open_writable(self.tree.path(source)) for source in ("legacy", "vector")
        }
        self.open[ROOT] = opened(self.tree.path("root"), writable=True)
        sides = self._sides(unified=self._is_unified(), fenced=self._fenced())
        self.gates = {name: Gate(name, self.tree, sides[name]) for name in SERVICES}
        self._take_steps()
        self.keeping = [name for name in self.steps if name.startswith("rollback.")][:4]

    def _take_steps(self) -> None:
        self.steps = steps_of(self.tree, self.gates)

    @property
    def tree(self) -> Tree:
        assert self.at is not None
        return self.at

    # Writes --------------------------------------------------------------------------------------

    @rule(
        collection=st.sampled_from([TASK, BLOCK, VECTOR]),
        how=st.sampled_from(["put", "put", "replace", "delete"]), key=KEYS, value=VALUES,
    )  # fmt: skip
    def write(self, collection: str, how: str, key: int, value: str) -> None:
        """Write through the gate, to the side that it is open to."""
        side = self.gates[SERVICE[collection]].side
        if side is None:
            self.reached.add("writes held")
            return
        name = f"{collection}{key}"
        if side == LEGACY:
            write_legacy(self.open[TABLES[collection][0]], collection, how, name, value)
        else:
            how = "put" if how == "replace" else how
            write_unified(self.open[ROOT], collection, how, name, value)
            self.reached.add("writes after cutover")
        self._note(collection, how, name, value)

    @rule(
        collection=st.sampled_from([TASK, BLOCK, VECTOR]),
        how=st.sampled_from(["put", "replace", "delete"]), key=KEYS, value=VALUES,
    )  # fmt: skip
    def write_past_the_gate(self, collection: str, how: str, key: int, value: str) -> None:
        """Write straight to the legacy database: a fence alone keeps that from being lost."""
        fenced = capture.is_fenced(self.open[TABLES[collection][0]])
        name = f"{collection}{key}"
        try:
            write_legacy(self.open[TABLES[collection][0]], collection, how, name, value)
        except apsw.ConstraintError:
            assert fenced
            self.reached.add("writes refused by a fence")
            return
        # A delete of nothing, or an update of it, is refused by no trigger, and loses nothing.
        assert not fenced or (how == "delete" and name not in self._legacy(collection))
        if not fenced:
            self._note(collection, how, name, value)

    @rule(how=st.sampled_from(["put", "delete"]), key=KEYS, value=VALUES)
    def write_to_the_root(self, how: str, key: int, value: str) -> None:
        """Write to the root, or to what stands in its place."""
        name = f"{ROOT}{key}"
        if self._is_unified():
            write_unified(self.open[ROOT], ROOT, how, name, value)
        else:
            write_legacy(self.open[ROOT], ROOT, how, name, value)
        self._note(ROOT, how, name, value)

    def _legacy(self, collection: str) -> dict[str, str]:
        source, table, _ = TABLES[collection]
        return dict(stored_in(self.open[source], collection, table))

    def _note(self, collection: str, how: str, key: str, value: str) -> None:
        if how == "delete":
            self.model[collection].pop(key, None)
        else:
            self.model[collection][key] = value

    # Steps ---------------------------------------------------------------------------------------

    def _killed(self, kill: int | None, do: Callable[[], object]) -> bool:
        """Do something, killed on the way or not; return whether it came to its end."""
        try:
            with KILL.after(kill):
                do()
        except KilledError:
            self.reached.add("kills")
            self._take_steps()  # another process goes on, which has nothing open
            return False
        except MigrationError as error:
            assert error.code in ("cutover-late", "rollback-late"), error
            self.reached.add("backed out")
            return False
        return True

    @precondition(lambda self: self._may_go_on())
    @rule(kill=KILLS)
    def go_on(self, kill: int | None) -> None:
        """Make the next step there, or begin it again."""
        self._step(kill)

    @precondition(lambda self: self._may_go_on())
    @rule()
    def go_far(self) -> None:
        """Make all further steps there."""
        while self.forward < len(FORWARD):
            self._step(None)

    def _may_go_on(self) -> bool:
        return not self.ended and self.back is None and self.forward < len(FORWARD)

    def _may_go_back(self) -> bool:
        return not self.ended and (self.back is not None or self.forward > 0)

    def _step(self, kill: int | None) -> None:
        name = FORWARD[self.forward]
        if self._killed(kill, lambda: self.steps[name].run(self.tree)):
            self.forward += 1
            self.reached.add(name)

    @precondition(lambda self: not self.ended and self.back is None and self.forward < 4)
    @rule(source=st.sampled_from(["legacy", "vector"]), portion=st.integers(1, 4), kill=KILLS)
    def follow(self, source: str, portion: int, kill: int | None) -> None:
        """Catch up by a portion."""
        unified = self.tree.path("root") if self.forward else self.tree.shadow
        if not self.forward and self._is_unified():
            return  # it was killed behind the put, and the shadow is of no use any more

        def do() -> None:
            with following(self.tree, unified) as connection:
                if behind(connection, source):
                    catch_up(connection, source, rows_max=portion)

        self._killed(kill, do)

    @precondition(lambda self: not self.ended and self.back is None and self.forward < 4)
    @rule(refusing=st.sampled_from(SERVICES))
    def go_on_while_a_request_does_not_end(self, refusing: str) -> None:
        """Try a step while a gate does not get free."""
        self.gates[refusing].refuses = True
        self._step(None)
        self.gates[refusing].refuses = False

    @rule()
    def leases_end(self) -> None:
        """Let each gate that is held ask who answers: who was killed lets go of it in this way."""
        for gate in self.gates.values():
            if gate.is_held():
                gate.settle()

    @precondition(lambda self: self._may_go_back())
    @rule(kill=KILLS)
    def go_back(self, kill: int | None) -> None:
        """Make the next step of the way back, or begin it again."""
        self._step_back(kill)

    @precondition(lambda self: self._may_go_back() and self._has_what_to_lose())
    @rule()
    def go_all_the_way_back(self) -> None:
        """Make all steps of the way back.

        Not in each run before anything is written that it could lose: most would end there.
        """
        while not self.ended:
            self._step_back(None)

    def _has_what_to_lose(self) -> bool:
        return self.returns or "writes after cutover" in self.reached

    def _step_back(self, kill: int | None) -> None:
        self.back = self.back or 0
        name = self.keeping[self.back]
        if not self._killed(kill, lambda: self.steps[name].run(self.tree)):
            return
        self.back += 1
        if self.back == len(self.keeping):
            self._is_back()

    def _is_back(self) -> None:
        """Judge what is left at the end of the way back, and begin to be migrated again."""
        self.reached.add("rollbacks")
        if "writes after cutover" in self.reached:
            self.reached.add("writes after cutover and a rollback")
        self.leases_end()
        assert {gate.side for gate in self.gates.values()} == {LEGACY}
        for source, schema in schemas_of(self.original).items():
            assert schema_of(self.open[source]) == schema
        self.back, self.ended = None, True

    @precondition(lambda self: self.ended)
    @rule(again=st.integers(0, 15))
    def begin_again(self, again: int) -> None:
        """Migrate again, by the real copy; not each time, for it takes longer than all the rest."""
        if again != 9:  # the ends are drawn most often
            return
        self.forward, self.ended = 0, False
        tree = LegacyTree(self.tree.directory)
        for left in (self.tree.work, self.tree.directory / "backups"):
            shutil.rmtree(left, ignore_errors=True)
        copied(tree)
        self.steps["shadow.follow"].run(self.tree)
        self.reached.add("migrated again")

    # Invariants ----------------------------------------------------------------------------------

    def _is_unified(self) -> bool:
        return has_table(self.open[ROOT], "main", "migration_facts")

    def _fenced(self) -> dict[str, bool]:
        return {source: capture.is_fenced(self.open[source]) for source in SOURCE_OF.values()}

    def _sides(self, *, unified: bool, fenced: Mapping[str, bool]) -> dict[str, str | None]:
        """Return who answers for each service, as `Authority` does."""
        sides: dict[str, str | None] = {}
        for service in SERVICES:
            if unified and authority_of(self.open[ROOT], service) == UNIFIED:
                sides[service] = UNIFIED
            else:
                sides[service] = None if fenced.get(SOURCE_OF.get(service, "")) else LEGACY
        return sides

    @invariant()
    def the_side_that_answers_has_what_was_written(self) -> None:
        """Compare the side that answers for each service with the model, each row once."""
        if self.at is None:
            return
        # Asked once: each answer takes a look through a whole schema.
        unified, fenced = self._is_unified(), self._fenced()
        sides = self._sides(unified=unified, fenced=fenced)
        for collection, model in self.model.items():
            side = UNIFIED if unified else LEGACY
            if collection != ROOT:
                answers = sides[SERVICE[collection]]
                if answers is None:
                    continue
                side = answers
            source, table, _ = TABLES[collection]
            stored = (
                stored_in(self.open[ROOT], collection, unified_table(collection))
                if side == UNIFIED
                else stored_in(self.open[source], collection, table)
            )
            assert stored == sorted(model.items()), (collection, side)
        # An open gate leads to whoever answers; where that is the unified side, fences are set.
        for service, gate in self.gates.items():
            assert gate.side in (None, sides[service]), (service, gate.side, sides[service])
            source_of = SOURCE_OF.get(service)
            if sides[service] == UNIFIED and source_of is not None:
                assert fenced[source_of], service

    def teardown(self) -> None:
        """Go back at last where that was said; count what this run has reached, and remove it."""
        if self.returns and self._may_go_back() and sys.exc_info()[0] is None:
            self.go_all_the_way_back()
            self.the_side_that_answers_has_what_was_written()
        REACHED["runs"] += 1
        REACHED.update(self.reached)
        if self.at is not None:
            for connection in self.open.values():
                connection.close()
            with suppress(OSError):
                shutil.rmtree(self.tree.directory)
