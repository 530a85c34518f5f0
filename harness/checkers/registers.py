"""A history as registers, one a key: the versions that its client wrote, and who saw which.

Version 0 is that the key is absent, as it is before it is made; a delete is a version without a
value. An indefinite write that is followed by others may come late: it is *loose*, and then its
version may be seen at any time. Clients leave a key after one, so that their last write alone is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from harness.errors import BadInputError
from harness.history import WRITES, Call, History
from harness.model import Finding

__all__ = ["Register", "Registers", "Seen", "Version", "registers", "shown"]

_NEVER: Final = 2**63


class Version(NamedTuple):
    """One write to a key: acknowledged, or one of which nobody knows."""

    value: str | None
    call: Call

    @property
    def sure(self) -> bool:
        """Whether it was acknowledged."""
        return self.call.type == "ok"


class Seen(NamedTuple):
    """A version of a key that somebody knows of since a moment: told, or shown, by `call`."""

    at_ns: int
    version: int
    number: int
    call: Call
    how: str


@dataclass(slots=True)
class Register:
    """One key: its versions from 1 on, and what answers showed of it."""

    service: str
    collection: str
    key: str
    versions: list[Version] = field(default_factory=list)
    answers: list[tuple[Call, str | None]] = field(default_factory=list)
    refused: dict[str, Call] = field(default_factory=dict)
    loose: set[int] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    known: Seen | None = None

    def write(self, call: Call) -> None:
        """Take the client's next write to it."""
        if call.type == "fail" or (call.type == "ok" and not call.wrote):
            if call.value is not None:
                self.refused[call.value] = call
            return
        if self.versions:
            last = self.versions[-1].call
            if last.client != call.client:
                raise BadInputError(
                    f"clients {last.client} and {call.client} both write {self.key}, so that nobody"
                    " can tell the order of its values: let each key be written by one client"
                )
            if last.type == "info":
                self.loose.add(len(self.versions))
        value = None if call.kind == "delete" else call.value
        self.versions.append(Version(value, call))
        if value is not None:
            self.numbers[value] = len(self.versions)

    def value(self, version: int) -> str | None:
        """Return the value of a version, None where it is absent."""
        return self.versions[version - 1].value if version else None

    def finding(self, rule: str, cause: str, expected: str | None, actual: str | None) -> Finding:
        """Return a finding about this key."""
        return Finding(
            rule=f"history/{rule}", cause=cause, database=self.service, table=self.collection,
            key=self.key, expected=expected, actual=actual,
        )  # fmt: skip

    def judge(self) -> Iterator[Finding]:
        """Yield what is wrong with what was seen of it; afterwards `known` is the last known."""
        pending = [
            _seen(number, version.call, "was told of")
            for number, version in enumerate(self.versions, start=1)
            if version.sure and number not in self.loose
        ]
        heapq.heapify(pending)
        self.answers.sort(key=lambda answer: answer[0].began_ns)
        for call, value in self.answers:
            while pending and pending[0].at_ns < call.began_ns:
                self._know(heapq.heappop(pending))
            wrong, version = self._resolve(call, value)
            if wrong is not None:
                yield wrong
            elif version is not None and version not in self.loose:
                heapq.heappush(pending, _seen(version, call, "was shown"))
        for seen in pending:
            self._know(seen)

    def _know(self, seen: Seen) -> None:
        if self.known is None or seen.version > self.known.version:
            self.known = seen

    def _resolve(self, call: Call, value: str | None) -> tuple[Finding | None, int | None]:
        """Return what is wrong with an answer, or else the version that it showed."""
        floor = self.known.version if self.known else 0
        if value is None:
            return self._absent(call, floor)
        number = self.numbers.get(value)
        if number is None:
            return self._from_nowhere(call, value), None
        sent = self.versions[number - 1].call
        if sent.began_ns >= (call.ended_ns or _NEVER):
            cause = f"{_who(call)} was shown a value before {_who(sent)} sent it"
            return self.finding("read-from-nowhere", cause, None, value), None
        stale = number < floor and number not in self.loose
        return (self._stale(call, value), None) if stale else (None, number)

    def _absent(self, call: Call, floor: int) -> tuple[Finding | None, int | None]:
        deletes = [
            number
            for number, version in enumerate(self.versions, start=1)
            if version.value is None and version.call.began_ns < (call.ended_ns or _NEVER)
        ]
        fitting = [number for number in (0, *deletes) if number >= floor]
        if fitting:
            return None, min(fitting)
        late = any(number in self.loose for number in deletes)
        return None if late else self._stale(call, None), None

    def _stale(self, call: Call, value: str | None) -> Finding:
        assert self.known is not None  # noqa: S101 - there is a floor
        mine = self.known.call.client == call.client
        whose = "the same client" if mine else _who(self.known.call)
        what = shown(self.value(self.known.version))
        asked = f"{_who(call)} asked at {_s(call.began_ns)}"
        cause = (
            f"{asked} and was shown {shown(value)}, though {whose}"
            f" {self.known.how} {what} at {_s(self.known.at_ns)} (operation"
            f" {self.known.call.number})"
        )
        return self.finding("stale-read", cause, f"{what}, or a later one", shown(value))

    def _from_nowhere(self, call: Call, value: str) -> Finding:
        cause = f"{_who(call)} was shown a value that nobody wrote to this key"
        if value in self.refused:
            refused = self.refused[value]
            cause = f"{_who(call)} was shown the value of operation {refused.number}, which was"
            cause += f" answered with {refused.status or refused.error}: it did not happen"
        return self.finding("read-from-nowhere", cause, None, value)


@dataclass(slots=True)
class Registers:
    """All keys of a history, and what answers showed that is of none of them."""

    by_key: dict[tuple[str, str], Register] = field(default_factory=dict)
    of_value: dict[str, tuple[str, int]] = field(default_factory=dict)
    strays: list[Finding] = field(default_factory=list)

    def judge(self) -> Iterator[Finding]:
        """Yield what is wrong with what was seen."""
        yield from self.strays
        for register in self.by_key.values():
            yield from register.judge()


def registers(history: History) -> Registers:
    """Sort a history by keys; BadInputError where two clients write one key."""
    made = Registers()
    calls = sorted(history.calls, key=lambda call: call.began_ns)
    for call in calls:
        if call.kind in WRITES and call.key is not None:
            collection = call.collection or ""
            place = (collection, call.key)
            register = made.by_key.get(place)
            if register is None:
                register = made.by_key[place] = Register(call.service, collection, call.key)
            register.write(call)
            if call.wrote and call.acknowledged not in (None, call.key):
                cause = f"{_who(call)} wrote this key, and another one was acknowledged"
                made.strays.append(
                    register.finding("other-key", cause, call.key, call.acknowledged)
                )
    for register in made.by_key.values():
        for value in (*register.numbers, *register.refused):
            made.of_value[value] = (register.key, register.numbers.get(value, 0))
    for call in calls:
        if call.saw:
            _answer(made, call)
    return made


def _answer(made: Registers, call: Call) -> None:
    met: set[str] = set()
    for key, value in call.saw:
        register = made.by_key.get((call.collection or "", key))
        if register is None:
            stray = Register(call.service, call.collection or "", key)
            owner = made.of_value.get(value or "")
            cause = f"{_who(call)} was shown a key that nobody wrote"
            rule = "read-from-nowhere"
            if owner is not None:
                rule, cause = "write-doubled", f"{cause}, with the value of {owner[0]}"
            if value is not None:
                made.strays.append(stray.finding(rule, cause, None, value))
            continue
        if key in met:
            cause = f"{_who(call)} was shown this key twice in one answer"
            made.strays.append(register.finding("write-doubled", cause, "once", "twice"))
            continue
        met.add(key)
        register.answers.append((call, value))


def shown(value: str | None) -> str:
    """Return a value as a finding shows it."""
    return "that it is absent" if value is None else f"'{value}'"


def _seen(version: int, call: Call, how: str) -> Seen:
    return Seen(_NEVER if call.ended_ns is None else call.ended_ns, version, call.number, call, how)


def _who(call: Call) -> str:
    return f"client {call.client} ({call.kind}, operation {call.number})"


def _s(at_ns: int) -> str:
    return f"{at_ns / 1e9:.6f} s"
