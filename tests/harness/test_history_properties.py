"""Random histories of one right copy give no finding, and each corruption of them gives one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.checkers.history import check
from harness.checkers.holdings import Holding
from harness.history import Call, History, Kind, Start
from harness.model import Verdict

SERVICE = "database-manager"
KINDS: Sequence[Kind] = ("create", "update", "delete", "read", "list")
CAME = ("ok", "ok", "ok", "ok", "ok", "ok", "fail", "info, done", "info, not done")


@dataclass
class Client:
    """One session: it writes keys of its own, leaves those it is unsure of, and reads any."""

    number: int
    clock: int = 0
    made: int = 0
    versions: int = 0
    live: list[str] = field(default_factory=list)


@dataclass
class Planned:
    """One call before it took effect: `effect` is when, None where it never does."""

    call: Call
    effect: int | None


STEP = st.tuples(
    st.integers(0, 3), st.sampled_from(KINDS), st.integers(0, 99),
    st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from(CAME),
)  # fmt: skip
# Something is written before all others, and read after them, so that most examples have a victim.
WRITTEN = [(0, "create", 0, 0, 1, 1, "ok"), (0, "update", 0, 0, 1, 1, "ok")]
READ = [(3, "read", which, 4_000, 1, 1, "ok") for which in (0, 1, 2)]
STEPS = st.lists(STEP, max_size=60).map(lambda steps: [*WRITTEN, *steps, *READ])


def planned(steps: Sequence[tuple[int, Kind, int, int, int, int, str]]) -> list[Planned]:
    clients = [Client(number) for number in range(4)]
    known: list[str] = []
    found: list[Planned] = []
    for number, (who, wanted, which, wait, before, after, came) in enumerate(steps):
        client = clients[who]
        kind = "create" if wanted in ("update", "delete") and not client.live else wanted
        kind = "list" if kind == "read" and not known else kind
        key, value = None, None
        if kind == "create":
            client.made += 1
            key = f"k{who}-{client.made}"
            known.append(key)
        elif kind in ("update", "delete"):
            key = client.live[which % len(client.live)]
        elif kind == "read":
            key = known[which % len(known)]
        if kind in ("create", "update"):
            client.versions += 1
            value = f"v{who}-{client.versions}"
        began = client.clock + wait
        effect, ended = began + before, began + before + after
        client.clock = ended
        type_ = came.partition(",")[0]
        if key and kind == "create" and came == "ok":
            client.live.append(key)
        if key and (kind == "delete" or type_ == "info") and key in client.live and type_ != "fail":
            client.live.remove(key)
        happens = came in ("ok", "info, done")
        # What nobody heard of may still come, long after its client has given up.
        late = 40 * which if came == "info, done" else 0
        call = Call(
            number, who, SERVICE, kind, "task", key, value, began * 10, ended * 10,
            type_, 200 if came == "ok" else None, None, None, (),  # type: ignore[arg-type]
        )  # fmt: skip
        found.append(Planned(call, (effect + late) * 10 if happens else None))
    return found


def played(plans: list[Planned]) -> tuple[History, dict[str, str]]:
    """Let each call take effect on the one copy, in the order of the moments."""
    copy: dict[str, str] = {}
    calls = {plan.call.number: plan.call for plan in plans}
    happening = [(plan.effect, plan.call) for plan in plans if plan.effect is not None]
    for _, call in sorted(happening, key=lambda one: (one[0], one[1].number)):
        done = call
        if call.kind == "list":
            done = call._replace(saw=tuple(copy.items()))
        elif call.key is not None:
            if call.kind in ("update", "delete") and call.key not in copy:
                done = call._replace(status=404, saw=((call.key, None),))
            elif call.kind == "delete":
                del copy[call.key]
            elif call.value is not None:
                copy[call.key] = call.value
            if call.kind == "read":
                done = call._replace(saw=((call.key, copy.get(call.key)),))
        calls[call.number] = done if call.type == "ok" else call
    start = Start(1, 0, "", "k", 1, (SERVICE,))
    return History(start=start, calls=tuple(calls.values())), copy


def held(copy: dict[str, str], *more: tuple[str, str]) -> dict[str, Holding]:
    return {SERVICE: Holding(place="legacy", rows={"task": (*copy.items(), *more)})}


def told(history: History) -> dict[str, list[Call]]:
    """The acknowledged writes by key, of keys whose every write was acknowledged or refused."""
    writes: dict[str, list[Call]] = {}
    unsure = set()
    for call in history.calls:
        if call.kind in ("create", "update", "delete") and call.key is not None:
            if call.type == "info":
                unsure.add(call.key)
            elif call.wrote:
                writes.setdefault(call.key, []).append(call)
    return {key: calls for key, calls in writes.items() if key not in unsure}


def invalid(history: History, final: dict[str, Holding]) -> bool:
    return check(history, final).verdict is Verdict.INVALID


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_a_history_of_one_right_copy_has_no_finding(steps: list) -> None:  # type: ignore[type-arg]
    history, copy = played(planned(steps))
    assert check(history, held(copy)).findings == ()


@settings(max_examples=120, deadline=None)
@given(STEPS, st.data())
def test_an_acknowledged_write_that_is_dropped_is_found(steps: list, data: st.DataObject) -> None:  # type: ignore[type-arg]
    history, copy = played(planned(steps))
    writes = told(history)
    assume(writes)
    key = data.draw(st.sampled_from(sorted(writes)))
    before = writes[key][-2].value if len(writes[key]) > 1 else None
    dropped = {name: value for name, value in copy.items() if name != key}
    assert invalid(history, held(dropped if before is None else {**dropped, key: before}))


@settings(max_examples=120, deadline=None)
@given(STEPS, st.data())
def test_values_that_are_swapped_are_found(steps: list, data: st.DataObject) -> None:  # type: ignore[type-arg]
    history, copy = played(planned(steps))
    assume(len(copy) > 1)
    one, other = data.draw(st.permutations(sorted(copy)))[:2]
    assert invalid(history, held({**copy, one: copy[other], other: copy[one]}))


@settings(max_examples=120, deadline=None)
@given(STEPS, st.data(), st.booleans())
def test_a_row_that_is_doubled_is_found(
    steps: list,  # type: ignore[type-arg]
    data: st.DataObject,
    elsewhere: bool,
) -> None:
    history, copy = played(planned(steps))
    assume(copy and told(history))
    key = data.draw(st.sampled_from(sorted(copy)))
    again = ("k-another" if elsewhere else key, copy[key])
    assert invalid(history, held(copy, again))


@settings(max_examples=120, deadline=None)
@given(STEPS, st.data())
def test_a_read_that_goes_back_in_time_is_found(steps: list, data: st.DataObject) -> None:  # type: ignore[type-arg]
    history, copy = played(planned(steps))
    writes = told(history)
    late = [
        (call, key)
        for call in history.calls
        for key in writes
        if call.kind in ("read", "list") and call.type == "ok" and call.key in (key, None)
        and (writes[key][0].ended_ns or 0) < call.began_ns
    ]  # fmt: skip
    assume(late)
    call, key = data.draw(st.sampled_from(late))
    acknowledged = [w for w in writes[key] if (w.ended_ns or 0) < call.began_ns]
    behind: list[str | None] = [write.value for write in acknowledged[:-1]]
    gone = any(w.kind == "delete" and w.began_ns < (call.ended_ns or 0) for w in writes[key])
    if call.kind == "read" and not gone:
        behind.append(None)
    assume(behind)
    stale = data.draw(st.sampled_from(behind))
    saw = (*(pair for pair in call.saw if pair[0] != key), (key, stale))
    changed = tuple(
        each._replace(saw=saw) if each.number == call.number else each for each in history.calls
    )
    assert invalid(replace(history, calls=changed), held(copy))
