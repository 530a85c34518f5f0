"""The history of a load: an append-only log of operations and marks, one JSON line each.

An operation is told twice, as in Jepsen: its `invoke` before anything is sent, and later what came
of it: `ok`, `fail` (it did not happen) or `info` (nobody can tell). One without an end is `info`.
Times are nanoseconds of the machine's monotonic clock since the history began, so that a driver
and its clients, which are processes of their own, write the same log.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import xxhash

from harness.errors import BadInputError, EnvironmentFaultError

__all__ = [
    "WRITES",
    "Call",
    "History",
    "Kind",
    "Log",
    "Mark",
    "Operation",
    "Start",
    "Type",
    "read_history",
    "told",
]

Type = Literal["invoke", "ok", "fail", "info"]
Kind = Literal["create", "update", "delete", "read", "list", "search"]
Saw = tuple[tuple[str, str | None], ...]

WRITES: Final[frozenset[str]] = frozenset({"create", "update", "delete"})
_TYPES: Final = frozenset({"invoke", "ok", "fail", "info"})
_KINDS: Final = WRITES | {"read", "list", "search"}
_FORMAT: Final = 1
_SHORT: Final = 64
_LEFT: Final = 40


class Operation(NamedTuple):
    """One line about one operation; `number` is the same at its invoke and at its end.

    `client` is the session. `collection`, `key` and `value` say what is to be written, or read.
    At the end, `status` is HTTP's, None where there was no answer; `error` says what went wrong;
    `acknowledged` is the key in the answer to a write; `saw` has the keys that an answer showed
    with their values as `told` shortens them, None for one that was said to be absent.
    """

    type: Type
    number: int
    client: int
    service: str
    kind: Kind
    at_ns: int
    collection: str | None = None
    key: str | None = None
    value: str | None = None
    status: int | None = None
    error: str | None = None
    acknowledged: str | None = None
    saw: Saw = ()


class Mark(NamedTuple):
    """A moment of the driver's: `shadow`, `hold`, `switch`, `release`, `rollback`, …."""

    mark: str
    at_ns: int
    note: str | None = None


class Start(NamedTuple):
    """The first line: `origin_ns` is the monotonic clock's, `prefix` begins each key and value."""

    history: int
    origin_ns: int
    began: str
    prefix: str
    seed: int
    services: tuple[str, ...] = ()


class Call(NamedTuple):
    """One operation as a whole: what was asked, when, and what came of it.

    `ended_ns` is None where nobody heard of it again; `type` is then `info`.
    """

    number: int
    client: int
    service: str
    kind: Kind
    collection: str | None
    key: str | None
    value: str | None
    began_ns: int
    ended_ns: int | None
    type: Literal["ok", "fail", "info"]
    status: int | None
    error: str | None
    acknowledged: str | None
    saw: Saw

    @property
    def wrote(self) -> bool:
        """Whether it is a write whose success was acknowledged."""
        return self.kind in WRITES and self.type == "ok" and (self.status or 200) < 400


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a log holds: the calls in the order of their beginning, the marks in that of time.

    `torn` says that the log ends within a line, as that of a killed writer can; that half line
    is left out.
    """

    start: Start
    calls: tuple[Call, ...]
    marks: tuple[Mark, ...] = ()
    torn: bool = False

    @classmethod
    def of(
        cls, records: Iterable[Operation | Mark], *, start: Start | None = None, torn: bool = False
    ) -> Self:
        """Fold records into calls; BadInputError where an end has no beginning, or two."""
        pairing = _Pairing()
        for record in records:
            if (wrong := pairing.take(record)) is not None:
                raise BadInputError(f"the history cannot be read: {wrong}")
        return cls(
            start=start or Start(_FORMAT, 0, "", "", 0),
            calls=pairing.calls(),
            marks=tuple(sorted(pairing.marks, key=lambda mark: mark.at_ns)),
            torn=torn,
        )


def told(text: str) -> str:
    """Return how a value stands in a history: short ones as they are, others with a digest."""
    if len(text) <= _SHORT:
        return text
    return f"{text[:_LEFT]}#{xxhash.xxh3_64_hexdigest(text.encode('utf-8', 'surrogatepass'))}"


class Log:
    """Appends to a history's file; each line is one `write`, so that a killed writer keeps it.

    Several processes may append to one file: the first makes it with `begin`, others `join` it.
    """

    def __init__(self, path: Path, start: Start) -> None:
        """Open `path` for appending; `begin` and `join` are what callers use."""
        self.path, self.start = path, start
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise EnvironmentFaultError(
                f"{path} cannot be written ({error.strerror}); give the log another place"
            ) from error

    @classmethod
    def begin(
        cls, path: Path, *, prefix: str = "", seed: int = 0, services: Iterable[str] = ()
    ) -> Self:
        """Make the file and write its first line; BadInputError where it is there already."""
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        start = Start(_FORMAT, time.monotonic_ns(), began, prefix, seed, tuple(services))
        if path.exists():
            raise BadInputError(
                f"{path} is there already, and a history is never written over: move it away or"
                " give the log another name"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        except OSError as error:
            raise EnvironmentFaultError(
                f"{path} cannot be made ({error.strerror}); give the log another place"
            ) from error
        log = cls(path, start)
        log._line(start._asdict())
        return log

    @classmethod
    def join(cls, path: Path) -> Self:
        """Open a history that another process began; its clock is used on."""
        try:
            with path.open(encoding="utf-8") as lines:
                first = lines.readline()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path} cannot be read: {error}; begin a history first") from error
        return cls(path, _start(first, path))

    def now_ns(self) -> int:
        """Nanoseconds since the history began."""
        return time.monotonic_ns() - self.start.origin_ns

    def append(self, operation: Operation) -> None:
        """Write one operation's line; fields that say nothing are left out."""
        said: dict[str, Any] = {}
        for name, value in zip(Operation._fields, operation, strict=True):
            if value is not None and value != ():
                said[name] = value
        self._line(said)

    def mark(self, name: str, note: str | None = None, *, at_ns: int | None = None) -> int:
        """Write a mark of this moment, or of the one given, and return its time."""
        at_ns = self.now_ns() if at_ns is None else at_ns
        said = {"mark": name, "at_ns": at_ns}
        self._line(said if note is None else {**said, "note": note})
        return at_ns

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _line(self, said: Mapping[str, Any]) -> None:
        line = json.dumps(said, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise EnvironmentFaultError(
                f"{self.path} cannot be appended to ({error.strerror}); nothing after it is known"
            ) from error
        if written != len(line):
            raise EnvironmentFaultError(
                f"{self.path} took {written} of {len(line)} bytes of a line: the disk is full"
            )


def read_history(path: Path) -> History:
    """Read a whole log; BadInputError names the line that is no record, and what is wrong."""
    pairing, torn = _Pairing(), False
    try:
        with path.open("rb") as lines:
            start = _start(lines.readline(), path)
            for number, line in enumerate(lines, start=2):
                if not line.endswith(b"\n"):
                    torn = True
                    break
                wrong = _taken(pairing, line)
                if wrong is not None:
                    raise BadInputError(f"{path}, line {number}: {wrong}")
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); name a history's log"
        ) from error
    return History(
        start=start,
        calls=pairing.calls(),
        marks=tuple(sorted(pairing.marks, key=lambda mark: mark.at_ns)),
        torn=torn,
    )


def _start(line: bytes | str, path: Path) -> Start:
    try:
        said = json.loads(line)
        start = Start(**{**said, "services": tuple(said["services"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BadInputError(
            f"{path}, line 1: it does not begin a history; name a log that a load wrote"
        ) from error
    if start.history != _FORMAT or not isinstance(start.origin_ns, int):
        raise BadInputError(
            f"{path}, line 1: it is of format {start.history!r}, and this harness reads {_FORMAT};"
            " use the harness that wrote it"
        )
    return start


def _taken(pairing: _Pairing, line: bytes) -> str | None:
    """Take one line, and return what is wrong with it, if anything."""
    try:
        said = json.loads(line)
    except ValueError:
        return "it is no JSON; a line of a history was changed or cut"
    if not isinstance(said, dict):
        return "it is no JSON object, as each record of a history is"
    if not isinstance(said.get("at_ns"), int) or said["at_ns"] < 0:
        return "`at_ns` must be a whole number, not negative"
    if "mark" in said:
        try:
            return pairing.take(Mark(**said))
        except TypeError:
            return "a mark has `mark`, `at_ns` and perhaps `note`, and nothing else"
    return pairing.take_told(said)


def _wrong(said: Mapping[str, Any]) -> str | None:
    for name, kind in (("number", int), ("client", int), ("service", str)):
        if not isinstance(said.get(name), kind):
            return f"`{name}` is missing, or no {'number' if kind is int else 'text'}"
    if said.get("type") not in _TYPES:
        return f"`type` is {said.get('type')!r}; it must be one of {', '.join(sorted(_TYPES))}"
    if said.get("kind") not in _KINDS:
        return f"`kind` is {said.get('kind')!r}; it must be one of {', '.join(sorted(_KINDS))}"
    return None


def _saw(given: Any) -> Saw:
    intern = sys.intern  # what is read is read often: one copy of each is kept
    return tuple((intern(key), None if value is None else intern(value)) for key, value in given)


class _Pairing:
    """Folds records into calls as they come; what is held is one call for two lines."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._open: dict[int, Operation] = {}
        self._calls: dict[int, Call | None] = {}  # by number, in the order of the beginnings

    def take_told(self, said: dict[str, Any]) -> str | None:
        """Take an operation as JSON has it."""
        if (wrong := _wrong(said)) is not None:
            return wrong
        try:
            if "saw" in said:
                said["saw"] = _saw(said["saw"])
            for name in ("key", "value", "acknowledged"):
                if name in said:
                    said[name] = sys.intern(said[name])
            said["service"] = sys.intern(said["service"])
            operation = Operation(**said)
        except (TypeError, ValueError):
            unknown = set(said) - set(Operation._fields)
            return f"`{min(unknown)}` is unknown" if unknown else "`key` or `saw` is malformed"
        return self.take(operation)

    def take(self, record: Operation | Mark) -> str | None:
        """Take a record, and return what contradicts those before it, if anything."""
        if isinstance(record, Mark):
            self.marks.append(record)
            return None
        number = record.number
        if record.type == "invoke":
            if number in self._calls:
                return f"operation {number} begins a second time"
            self._open[number] = record
            self._calls[number] = None
            return None
        begun = self._open.pop(number, None)
        if begun is None:
            twice = number in self._calls
            return f"operation {number} ends {'a second time' if twice else 'and never began'}"
        wrong = None
        if (begun.client, begun.kind) != (record.client, record.kind):
            wrong = f"operation {number} ends as another one's: client or kind differ"
        elif record.at_ns < begun.at_ns:
            wrong = f"operation {number} ends before it began"
        else:
            self._calls[number] = _call(begun, record)
        return wrong

    def calls(self) -> tuple[Call, ...]:
        """Return every call; those that are still open are indefinite."""
        return tuple(
            _call(self._open[number], None) if call is None else call
            for number, call in self._calls.items()
        )


def _call(begun: Operation, ended: Operation | None) -> Call:
    return Call(
        begun.number,
        begun.client,
        begun.service,
        begun.kind,
        begun.collection,
        begun.key,
        begun.value,
        begun.at_ns,
        None if ended is None else ended.at_ns,
        "info" if ended is None or ended.type == "invoke" else ended.type,
        None if ended is None else ended.status,
        "nothing was heard of it again" if ended is None else ended.error,
        None if ended is None else ended.acknowledged,
        () if ended is None else ended.saw,
    )
