"""What probably happened to a value, in words: the well-known ways to lose a little."""

from __future__ import annotations

import json
import math
import re
import struct
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

from deepdiff import DeepDiff

from harness.checkers.values import Row, Value, storage_class

__all__ = ["cause_of", "changed_columns"]

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")


def changed_columns(expected: Row, actual: Row, columns: tuple[str, ...]) -> list[int]:
    """Return the positions of the columns that differ in value or in storage class."""
    left, right = (
        {name: _tagged(value) for name, value in zip(columns, row, strict=True)}
        for row in (expected, actual)
    )
    changed = set(DeepDiff(left, right, ignore_order=False).affected_root_keys)
    return [n for n, name in enumerate(columns) if name in changed]


def _tagged(value: Value) -> list[str]:
    """Return storage class and exact text: plain values would let 1 equal 1.0, and 0.0 -0.0."""
    if isinstance(value, float):
        return ["real", value.hex()]
    if isinstance(value, bytes):
        return ["blob", value.hex()]
    return [storage_class(value), str(value)]


def cause_of(expected: Value, actual: Value) -> str:
    """Say in words what turned `expected` into `actual`, as far as it can be recognised."""
    if expected is None:
        return "NULL became an empty string" if actual == "" else "NULL became a value"
    if actual is None:
        return "an empty string became NULL" if expected == "" else "the value became NULL"
    if type(expected) is type(actual):
        for known in _SAME_TYPE[type(expected)]:
            if words := known(expected, actual):
                return words
        return "the value is another"
    return _type_cause(expected, actual)


_TYPE_CHANGES = {
    ("text", "integer"): "column affinity turned text into a number",
    ("text", "real"): "column affinity turned text into a number",
    ("integer", "text"): "a number was stored as text",
    ("real", "text"): "a number was stored as text",
    ("integer", "real"): "an integer became a real",
    ("real", "integer"): "a real became an integer",
    ("text", "blob"): "text became a blob",
    ("blob", "text"): "a blob became text",
}


def _type_cause(expected: Value, actual: Value) -> str:
    classes = storage_class(expected), storage_class(actual)
    words = _TYPE_CHANGES.get(classes, f"{classes[0]} became {classes[1]}")
    if set(classes) == {"integer", "real"}:
        return words if actual == expected else f"{words} and lost digits"
    if set(classes) == {"text", "blob"}:
        return f"{words} of the same bytes" if _bytes(expected) == _bytes(actual) else words
    return words


def _bytes(value: Value) -> Value:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _text_cause(expected: str, actual: str) -> str | None:
    for words, change in _TEXT_CHANGES:
        if change(expected) == actual:
            return words
    return (
        _timestamp_cause(expected, actual)
        or _json_cause(expected, actual)
        or _cut(expected, actual)
    )


def _replaced(text: str, errors: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", errors)


_TEXT_CHANGES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("the value became an empty string", lambda _: ""),
    ("the text was cut at its first NUL", lambda t: t.split("\0")[0]),
    ("trailing blanks were cut", lambda t: t.rstrip()),
    ("blanks were cut", lambda t: t.strip()),
    ("invalid UTF-8 was replaced", lambda t: _replaced(t, "replace")),
    ("invalid UTF-8 was dropped", lambda t: _replaced(t, "ignore")),
    ("NULs were dropped", lambda t: t.replace("\0", "")),
    ("the case was changed to lower", str.lower),
    ("the case was changed to upper", str.upper),
    ("Unicode was normalised to NFC", lambda t: unicodedata.normalize("NFC", t)),
    ("Unicode was normalised to NFD", lambda t: unicodedata.normalize("NFD", t)),
    ("Unicode was normalised to NFKC", lambda t: unicodedata.normalize("NFKC", t)),
    ("characters outside ASCII were lost", lambda t: t.encode("ascii", "ignore").decode()),
    ("characters outside ASCII were replaced", lambda t: t.encode("ascii", "replace").decode()),
    ("line ends were changed", lambda t: t.replace("\r\n", "\n")),
    ("line ends were changed", lambda t: t.replace("\n", "\r\n")),
    ("a backslash was doubled", lambda t: t.replace("\\", "\\\\")),
    ("a quote was doubled", lambda t: t.replace("'", "''")),
    ("UTF-8 was read as Latin-1", lambda t: t.encode("utf-8", "surrogateescape").decode("latin-1")),
    ("the text was quoted as JSON", json.dumps),
)


def _timestamp_cause(expected: str, actual: str) -> str | None:
    times = _moment(expected), _moment(actual)
    if times[0] is None or times[1] is None:
        return None
    shift_s = (times[1] - times[0]).total_seconds()
    if shift_s == 0:
        return "the timestamp was written in another form"
    if abs(shift_s) < 1:
        return "the timestamp lost its fraction of a second"
    if shift_s % 900 == 0 and abs(shift_s) <= 26 * 3600:
        hours = f"{abs(shift_s) / 3600:g}"
        later = "later" if shift_s > 0 else "earlier"
        return f"the timestamp was shifted by {hours} hours ({later}), as by a time zone"
    return "the timestamp is another one"


def _moment(text: str) -> datetime | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _json_cause(expected: str, actual: str) -> str | None:
    if not expected.lstrip().startswith(("{", "[")):
        return None
    try:
        was, now = json.loads(expected), json.loads(actual)
    except (ValueError, RecursionError):
        return None
    difference = DeepDiff(was, now, ignore_numeric_type_changes=False)
    if not difference:
        return "the JSON was written anew: same content, other text"
    told = [line.strip() for line in str(difference.pretty()).splitlines() if line.strip()]
    more = f" (and {len(told) - 2} more)" if len(told) > 2 else ""
    return "the JSON is another: " + " ".join(told[:2])[:300] + more


def _cut(expected: str, actual: str) -> str | None:
    if expected.startswith(actual):
        return f"the text was cut after {len(actual)} of {len(expected)} characters"
    if actual.startswith(expected):
        return f"{len(actual) - len(expected)} characters were added at the end"
    if expected.casefold() == actual.casefold():
        return "the case was changed"
    return None


def _real_cause(expected: float, actual: float) -> str | None:
    if expected == actual:
        return "the sign of zero was lost"
    try:
        single = struct.unpack("<f", struct.pack("<f", expected))[0]
    except OverflowError:
        single = math.inf
    if single == actual:
        return "a real was rounded to single precision"
    for digits in range(9):
        if math.isfinite(expected) and round(expected, digits) == actual:
            return f"a real was rounded to {digits} decimals"
    if float(f"{expected:.15g}") == actual:
        return "a real was rounded to 15 digits, as by way of text"
    return None


def _integer_cause(expected: int, actual: int) -> str | None:
    if abs(expected) > 2**53 and int(float(expected)) == actual:
        return "an integer lost digits on its way through a real"
    for bits in (32, 16):
        if expected != actual and (expected - actual) % 2**bits == 0 and abs(actual) < 2**bits:
            return f"an integer was cut to {bits} bits"
    return None


def _blob_cause(expected: bytes, actual: bytes) -> str | None:
    if not actual:
        return "the blob became an empty one"
    if len(actual) < len(expected) and expected.startswith(actual):
        return f"the blob was cut after {len(actual)} of {len(expected)} bytes"
    if len(expected) != len(actual) or len(expected) % 4:
        return None
    floats = len(expected) // 4
    was, now = struct.unpack(f"<{floats}I", expected), struct.unpack(f"<{floats}I", actual)
    if struct.pack(f">{floats}I", *was) == actual:
        return "the byte order of the vector was turned"
    differing = sum(a != b for a, b in zip(was, now, strict=True))
    return f"{differing} of {floats} 32-bit values of the blob are others"


_SAME_TYPE: dict[type, tuple[Callable[..., str | None], ...]] = {
    str: (_text_cause,),
    float: (_real_cause,),
    int: (_integer_cause,),
    bytes: (_blob_cause,),
}
