from __future__ import annotations

from collections.abc import Callable

from harness.generators.plan import DatabasePlan, Row, TreePlan, Value
from harness.generators.shrinking import shrink
from harness.generators.tables import plain_values


def task(key: Value, **changes: Value) -> Row:
    values = plain_values("legacy", "task_contexts")
    return Row("task_contexts", {**values, "id": key, **changes})


def block(key: Value) -> Row:
    return Row("memory_blocks", {**plain_values("legacy", "memory_blocks"), "id": key})


def legacy(*rows: Row, **more: tuple[str, ...]) -> TreePlan:
    return TreePlan(legacy=DatabasePlan(rows=rows, **more))


class Counted:
    """A failure that counts how often it was asked for."""

    def __init__(self, breaks: Callable[[TreePlan], bool]) -> None:
        self.breaks = breaks
        self.tries = 0

    def __call__(self, plan: TreePlan) -> bool:
        self.tries += 1
        return self.breaks(plan)


def keys(plan: TreePlan) -> set[Value]:
    return {row.values["id"] for row in plan.legacy.rows}


def test_only_the_rows_that_break_it_are_left() -> None:
    plan = legacy(*(block(f"b{n}") for n in range(8)), *(task(f"t{n}") for n in range(8)))
    failure = Counted(lambda plan: {"t2", "b5"} <= keys(plan))
    small = shrink(plan, failure, tries_max=100)
    assert small == legacy(block("b5"), task("t2"))


def test_an_odd_value_stays_and_the_others_become_plain() -> None:
    plan = legacy(task("a", title="007", description="x\x00y", priority=3))

    def breaks(plan: TreePlan) -> bool:
        return 3 in {row.values["priority"] for row in plan.legacy.rows}

    assert shrink(plan, breaks, tries_max=50) == legacy(task("a", priority=3))


def test_a_value_equal_to_the_plain_one_and_of_another_class_is_not_taken_for_it() -> None:
    values = plain_values("root", "task_contexts")
    row = Row("task_contexts", {**values, "complexity_score": "0.5"})
    plan = TreePlan(root=DatabasePlan(rows=(row,)))

    def breaks(plan: TreePlan) -> bool:
        return any(isinstance(row.values["complexity_score"], str) for row in plan.root.rows)

    assert breaks(shrink(plan, breaks, tries_max=50))


def test_what_the_failure_does_not_need_of_a_tree_is_taken_away() -> None:
    plan = TreePlan(
        root=DatabasePlan(state="missing"),
        legacy=DatabasePlan(
            before=("CREATE TABLE x (a)", "CREATE TABLE y (a)"),
            rows=(Row("x", {"a": 1}), Row("y", {"a": 1})),
            after=("CREATE INDEX i ON y (a)",),
            wal=True,
        ),
        log=b"one\ntwo\nthree\n",
        configured=True,
    )
    small = shrink(plan, lambda plan: b"two" in (plan.log or b""), tries_max=50)
    assert small == TreePlan(log=b"two\n")


def test_a_table_is_taken_away_with_its_rows_though_neither_goes_alone() -> None:
    plan = legacy(
        Row("x", {"a": 1}), task("a"), before=("CREATE TABLE x (a)",), after=("DELETE FROM x",)
    )

    def breaks(plan: TreePlan) -> bool:
        made = bool(plan.legacy.before)
        needed = bool(plan.legacy.after) or any(row.table == "x" for row in plan.legacy.rows)
        return "a" in {row.values.get("id") for row in plan.legacy.rows} and made >= needed

    assert shrink(plan, breaks, tries_max=50) == legacy(task("a"))


def test_shrinking_ends_with_its_tries_and_keeps_what_it_has() -> None:
    plan = legacy(*(task(f"t{n}") for n in range(64)))
    failure = Counted(lambda plan: {f"t{n}" for n in range(0, 64, 5)} <= keys(plan))
    small = shrink(plan, failure, tries_max=7)
    assert failure.tries == 7
    assert failure.breaks(small)


def test_nothing_is_tried_twice() -> None:
    tried: list[str] = []

    def breaks(plan: TreePlan) -> bool:
        tried.append(repr(plan))
        return len(plan.legacy.rows) >= 3

    shrink(legacy(*(task(f"t{n}") for n in range(6))), breaks, tries_max=200)
    assert len(tried) == len(set(tried))
