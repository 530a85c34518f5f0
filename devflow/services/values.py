"""What stands in the database, as JSON can say it.

Migrated rows hold whatever the legacy databases held: numbers as text, blobs where text is
declared, JSON that is none. A service shows such a value in the declared type or as null; the
row itself stays as it is.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

__all__ = [
    "JsonValue",
    "iso_now",
    "json_text",
    "number",
    "parsed",
    "shallow",
    "sql_now",
    "text",
    "whole",
]

JsonValue = Any
"""What a JSON text says: null, bool, int, float, str, or lists and objects of these."""

JSON_DEPTH_MAX = 64
"""How deep lists and objects may be nested: what writes responses gives up at some 250."""
_WHOLE_MAX = 1 << 63


def text(value: object) -> str | None:
    """Return a value as text: bytes read as UTF-8 with replacements, numbers as they print."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)


def number(value: object) -> float | None:
    """Return a finite number, or None where the value is none."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """Return an integer within SQLite's range, or None where the value is none."""
    if isinstance(value, int):
        return int(value)
    found = number(value)
    return int(found) if found is not None and abs(found) < _WHOLE_MAX else None


def parsed(value: object) -> JsonValue:
    """Return what a JSON text says; a text that is no JSON is returned as the text it is."""
    shown = text(value)
    if shown is None:
        return None
    try:
        found = json.loads(shown, parse_constant=str, parse_float=_finite)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a character is none
    except (ValueError, RecursionError):
        return shown
    return found if shallow(found) else shown


def _finite(digits: str) -> float | str:
    found = float(digits)
    return found if math.isfinite(found) else digits


def shallow(value: JsonValue, depth: int = JSON_DEPTH_MAX) -> bool:
    """Return whether lists and objects are nested no deeper than can be written out again."""
    if not isinstance(value, list | dict):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(shallow(each, depth - 1) for each in inner)


def json_text(value: JsonValue) -> str | None:
    """Return the JSON text to store for a value; None for null."""
    return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)


def sql_now() -> str:
    """Return the time in the form of CURRENT_TIMESTAMP, UTC: `2026-01-31 08:15:00`."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso_now() -> str:
    """Return the time as `2026-01-31T08:15:00.123Z`, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
