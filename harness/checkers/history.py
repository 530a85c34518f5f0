"""The history checker: every acknowledged write stands in one place, and no read goes back in time.

In the manner of Jepsen's set-full and of Elle. Each key is a register that one client writes in
turn, so that the order of its versions is known and a check takes linear time but for a sort: a
read is compared with the highest version that was acknowledged, or seen, before it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from harness.checkers.holdings import Holding
from harness.checkers.registers import Register, Registers, registers, shown
from harness.history import WRITES, History
from harness.model import CheckResult, Finding

__all__ = ["check"]

_VERIFIES: Final = (
    "Each create, update and delete that a service acknowledged stands in the place that speaks for"
    " that service at the end, once, with the value of the last write; no read saw a value behind"
    " what its session wrote or saw, or behind what anybody had been told or shown before it began;"
    " nothing was read or kept that nobody wrote. A write without an answer may have happened or"
    " not, and what was seen of it stays."
)
_DOES_NOT_VERIFY: Final = (
    "Fields beside the one that carries the value; rows that no client of this load wrote; that a"
    " list or a search by likeness shows all that it could; power loss."
)
_SHOWN: Final = 20


def check(
    history: History, final: Mapping[str, Holding], elsewhere: Sequence[Holding] = ()
) -> CheckResult:
    """Judge a history by what each service's place holds at the end.

    `final` names for each service the place that speaks for it: the legacy database before a
    cutover and after a rollback, the unified one between. `elsewhere` are other places, looked at
    only to say where something that is missing went.
    """
    found = registers(history)
    findings = list(found.judge())
    places = {service: _Place(each) for service, each in final.items()}
    others = [_Place(each) for each in elsewhere]
    looked = 0
    for register in found.by_key.values():
        place = places.get(register.service)
        if place is None or not place.has(register.collection):
            continue
        looked += 1
        findings += _kept(register, place, others)
    findings += _unlooked(found, places)
    findings += _foreign(found, places)
    examined = Counter(
        {
            "acknowledged writes": sum(call.wrote for call in history.calls),
            "keys at the end": looked,
            "values read": sum(len(call.saw) for call in history.calls if call.kind not in WRITES),
        }
    )
    if not examined["acknowledged writes"]:
        examined.clear()
    types = Counter(call.type for call in history.calls)
    return CheckResult.judged(
        "history",
        _cut(findings),
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details={
            "operations": len(history.calls),
            "keys": len(found.by_key),
            "answered": types["ok"],
            "refused": types["fail"],
            "indefinite": types["info"],
            "indefinite writes": sum(
                call.type == "info" and call.kind in WRITES for call in history.calls
            ),
            "findings by rule": dict(Counter(finding.rule for finding in findings)),
            "places": {service: each.place for service, each in final.items()},
        },
    )


class _Place:
    """A place's rows by collection and key."""

    def __init__(self, held: Holding) -> None:
        self.name = held.place
        self.rows: dict[str, dict[str, list[str | None]]] = {}
        for collection, rows in held.rows.items():
            by_key = self.rows.setdefault(collection, {})
            for key, value in rows:
                by_key.setdefault(key, []).append(value)

    def has(self, collection: str) -> bool:
        """Whether this collection was looked for."""
        return collection in self.rows

    def values(self, register: Register) -> list[str | None]:
        """Return what stands under a key: nothing, a value, or several where it is doubled."""
        return self.rows.get(register.collection, {}).get(register.key, [])


def _kept(register: Register, place: _Place, others: Sequence[_Place]) -> Iterator[Finding]:
    """Judge what stands under one key at the end."""
    values = place.values(register)
    if len(values) > 1:
        cause = f"{place.name} has {len(values)} rows of this key"
        yield register.finding("write-doubled", cause, "1 row", f"{len(values)} rows")
    known = register.known.version if register.known else 0
    allowed = {register.value(known)}
    for number, version in enumerate(register.versions, start=1):
        if (number > known and not version.sure) or number in register.loose:
            allowed.add(version.value)
    actual = values[0] if values else None
    if actual in allowed:
        return
    rule, cause = _what_is_wrong(register, known, actual, place)
    for other in others if rule == "write-lost" else ():
        there = other.values(register)
        if there and there[0] in allowed:
            cause += f"; it stands in {other.name}, which does not speak for {register.service}"
    yield register.finding(rule, cause, " or ".join(sorted(map(shown, allowed))), shown(actual))


def _what_is_wrong(
    register: Register, known: int, actual: str | None, place: _Place
) -> tuple[str, str]:
    since = ""
    if register.known is not None:
        call = register.known.call
        since = (
            f"client {call.client} {register.known.how} it at {register.known.at_ns / 1e9:.6f} s"
            f" ({call.kind}, operation {call.number})"
        )
    if actual is None:
        return "write-lost", f"{since}, and {place.name} has no row of this key"
    if actual in register.numbers:
        if register.value(known) is None and known:
            return "delete-undone", f"{since}, and the row stands in {place.name} again"
        return "write-lost", f"{since}, and {place.name} has an earlier value"
    if actual in register.refused:
        call = register.refused[actual]
        cause = f"operation {call.number} was answered with {call.status or call.error}"
        return "refused-write-kept", f"{cause}, and {place.name} has its value"
    return "value-from-nowhere", f"{place.name} has a value that nobody wrote to this key"


def _unlooked(found: Registers, places: Mapping[str, _Place]) -> Iterator[Finding]:
    """Tell of services or collections that were written and are not looked at."""
    counted = Counter(
        (register.service, register.collection)
        for register in found.by_key.values()
        if any(version.sure for version in register.versions)
        and not (register.service in places and places[register.service].has(register.collection))
    )
    for (service, collection), number in counted.items():
        yield Finding(
            rule="history/place-missing",
            database=service,
            table=collection,
            cause=f"{number:,} keys were written, and no place that speaks for them was looked at",
        )


def _foreign(found: Registers, places: Mapping[str, _Place]) -> Iterator[Finding]:
    """Tell of the load's rows under keys that nobody wrote; each place once."""
    for name, place in {place.name: place for place in places.values()}.items():
        for collection, by_key in place.rows.items():
            for key, values in by_key.items():
                if (collection, key) in found.by_key:
                    continue
                owner = found.of_value.get(values[0] or "")
                rule = "value-from-nowhere" if owner is None else "write-doubled"
                whose = "a value that nobody wrote" if owner is None else f"the value of {owner[0]}"
                yield Finding(
                    rule=f"history/{rule}", database=name, table=collection, key=key,
                    cause=f"{name} has a row under a key that nobody wrote, with {whose}",
                    expected="no such row", actual=shown(values[0]),
                )  # fmt: skip


def _cut(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield some findings of each rule, and how many more there are."""
    counted: Counter[str] = Counter()
    for finding in findings:
        counted[finding.rule] += 1
        if counted[finding.rule] <= _SHOWN:
            yield finding
    for rule, number in counted.items():
        if number > _SHOWN:
            yield Finding(rule=rule, cause=f"{number - _SHOWN:,} more of this rule are not listed")
