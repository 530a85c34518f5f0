"""Strategies for single values: every storage class and the values that migrations get wrong.

Each strategy's first choice is its plainest, because Hypothesis's shrinking goes there.
"""

from __future__ import annotations

import math
import struct

from hypothesis import strategies as st

from harness.generators.plan import RawText, Value

__all__ = [
    "DIMENSIONS",
    "anything",
    "ids",
    "json_text",
    "numbers",
    "texts",
    "timestamps",
    "vector_bytes",
    "vectors",
]

DIMENSIONS = (4, 384, 768)

_PLAIN_IDS: tuple[Value, ...] = ("a", "b", "c", "block-1", "task-1")
_ODD_IDS: tuple[Value, ...] = (
    None,
    "A",
    "a ",
    "",
    " a",
    "007",
    "7",
    7,
    "1e3",
    "é",
    "é",
    "😀",
    "it's",
    RawText(b"a\x00b"),
    RawText(b"a\x00c"),
    RawText(b"a\xff"),
    b"a",
    b"",
    1.5,
    "00000000-0000-4000-8000-000000000001",
    "12345678901234567890",
    'a"b',
    "a,b",
    "a|b",
)
_TEXTS: tuple[Value, ...] = (
    "text",
    "",
    " ",
    "text ",
    "Text",
    "text\n",
    "007",
    "1e3",
    "12345678901234567890",
    "-0.0",
    "NULL",
    "é",
    "é",
    "😀 done",
    'it\'s "quoted"',
    "\ufefftext",
    '{"a":1}',
    '{"a": 1}',
    RawText(b"cut\x00off"),
    RawText(b"\x00"),
    RawText(b"caf\xe9"),
    RawText(b"a\xfe"),
    RawText(b"\xed\xa0\x80"),
    RawText(b"x" * 4_099 + b"\x00y"),
    7,
    -0.0,
    0.1,
    b"blob",
    b"",
)
_NUMBERS: tuple[Value, ...] = (
    0,
    1,
    -1,
    2,
    2**63 - 1,
    -(2**63),
    2**53 + 1,
    1.0,
    0.5,
    0.1,
    0.30000000000000004,
    -0.0,
    16777217.0,
    1e308,
    5e-324,
    math.inf,
    -math.inf,
    "007",
    "1e3",
    "12345678901234567890",
    " 5",
    "abc",
    "",
    RawText(b"1\x002"),
    RawText(b"\xff"),
    b"1",
    None,
)
_TIMESTAMPS: tuple[Value, ...] = (
    "2025-09-13 21:42:13",
    "2025-09-13T21:42:07.223Z",
    "2025-09-13T23:42:13+02:00",
    "2025-09-13",
    "2025-09-13T21:42:13",
    "2025-03-30 02:30:00",
    "1969-12-31 23:59:59",
    "yesterday",
    "",
    1757799733,
    1757799733223,
    2460932.4043171294,
    b"2025",
    RawText(b"2025-09-13\x00"),
    None,
)
_JSON: tuple[Value, ...] = (
    "{}",
    "[]",
    '{"a": 1}',
    '{"a":1}',
    '{"b": [1, 2.50, null], "a": "\\u00e9"}',
    '{"a": 1, "a": 2}',
    "{'not': json}",
    "null",
    "",
    RawText(b'{"a": "\xff"}'),
    b"{}",
    7,
    None,
)
_FLOATS: tuple[float, ...] = (1.0, 0.0, 0.5, -1.0, 1e-40, 3.4e38, -0.0)
_BROKEN_FLOATS: tuple[float, ...] = (math.nan, math.inf, -math.inf)


def ids() -> st.SearchStrategy[Value]:
    """Keys from a small pool, so that tables and databases share some, odd ones among them."""
    return st.sampled_from(_PLAIN_IDS) | st.sampled_from(_ODD_IDS) | st.sampled_from(_PLAIN_IDS)


def texts() -> st.SearchStrategy[Value]:
    """Values for a text column: mostly text of an awkward kind, sometimes another class."""
    return st.sampled_from(_TEXTS) | st.text(max_size=6) | _words()


def _words() -> st.SearchStrategy[str]:
    words = st.sampled_from(("alpha", "beta", "running", "Runs", "schema", "über", "naïve", "x-y"))
    return st.lists(words, min_size=1, max_size=4).map(" ".join)


def numbers() -> st.SearchStrategy[Value]:
    """Values for a number column: limits, whole reals, text that affinity would turn."""
    integers = st.integers(-(2**63), 2**63 - 1)
    floats = st.floats(allow_nan=False)
    return st.sampled_from(_NUMBERS) | st.sampled_from(_NUMBERS) | integers | floats


def timestamps() -> st.SearchStrategy[Value]:
    """Points of time in the forms that are about, and values that are none."""
    return st.sampled_from(_TIMESTAMPS)


def json_text() -> st.SearchStrategy[Value]:
    """JSON in several spellings, and values that are none."""
    return st.sampled_from(_JSON)


def vector_bytes(*, start: int, dimensions: int, broken: float | None = None) -> bytes:
    """Return `dimensions` little-endian float32 derived from `start`, one of them `broken`."""
    numbers_ = [math.sin(start + n) for n in range(min(dimensions, 12))]
    data = struct.pack(f"<{len(numbers_)}f", *numbers_)
    repeated = (data * (dimensions // 12 + 1))[: dimensions * 4] if dimensions else b""
    if broken is not None and dimensions:
        repeated = struct.pack("<f", broken) + repeated[4:]
    return repeated


@st.composite
def vectors(draw: st.DrawFn) -> tuple[Value, int]:
    """A vector and its true number of dimensions; sometimes NaN, infinite or of odd length."""
    shape = draw(st.integers(0, 11))
    start = draw(st.integers(0, 4))
    if shape < 6:
        dimensions = DIMENSIONS[0] if shape < 4 else DIMENSIONS[shape - 3]
        return vector_bytes(start=start, dimensions=dimensions), dimensions
    if shape == 6:
        values = draw(st.lists(st.sampled_from(_FLOATS), min_size=1, max_size=4))
        return struct.pack(f"<{len(values)}f", *values), len(values)
    if shape in {7, 8}:
        broken = draw(st.sampled_from(_BROKEN_FLOATS))
        return vector_bytes(start=start, dimensions=4, broken=broken), 4
    odd: tuple[Value, ...] = (b"", b"\x00", b"\x00" * 7, "[1.0, 2.0]", RawText(b"\xff\x00"), 7)
    return draw(st.sampled_from(odd)), 0


def anything() -> st.SearchStrategy[Value]:
    """Any value of any storage class."""
    return st.sampled_from(_NUMBERS) | texts() | st.binary(max_size=4)
