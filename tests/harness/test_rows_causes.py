"""Each well-known way to lose a little is told in words."""

from __future__ import annotations

import struct

import pytest

from harness.checkers.causes import cause_of, changed_columns
from harness.checkers.values import Value

VECTOR = struct.pack("<3f", 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("expected", "actual", "words"),
    [
        (None, "", "NULL became an empty string"),
        (None, 0, "NULL became a value"),
        ("", None, "an empty string became NULL"),
        ("x", None, "the value became NULL"),
        ("007", 7, "column affinity turned text into a number"),
        ("1e3", 1000.0, "column affinity turned text into a number"),
        (7, "7", "a number was stored as text"),
        (1, 1.0, "an integer became a real"),
        (2**53 + 1, float(2**53), "an integer became a real and lost digits"),
        (1.0, 1, "a real became an integer"),
        (1.5, 1, "a real became an integer and lost digits"),
        ("a", b"a", "text became a blob of the same bytes"),
        (b"a", "b", "a blob became text"),
        (1, b"1", "integer became blob"),
        ("x", "", "the value became an empty string"),
        ("a\0b", "a", "the text was cut at its first NUL"),
        ("a  ", "a", "trailing blanks were cut"),
        ("  a ", "a", "blanks were cut"),
        ("a\udcff", "a\ufffd", "invalid UTF-8 was replaced"),
        ("a\udcffb", "ab", "invalid UTF-8 was dropped"),
        ("ABC", "abc", "the case was changed to lower"),
        ("e\u0301", "é", "Unicode was normalised to NFC"),
        ("é", "e\u0301", "Unicode was normalised to NFD"),
        ("a😀", "a?", "characters outside ASCII were replaced"),
        ("é", "Ã©", "UTF-8 was read as Latin-1"),
        ("2025-09-13 21:42:13", "2025-09-13T21:42:13Z", "written in another form"),
        ("2025-09-13 21:42:13", "2025-09-13 23:42:13", "shifted by 2 hours (later)"),
        ("2025-09-13T21:42:07.223Z", "2025-09-13T21:42:07Z", "lost its fraction of a second"),
        ("2025-09-13 21:42:13", "2025-11-01 00:00:01", "the timestamp is another one"),
        ('{"a":1}', '{"a": 1}', "the JSON was written anew"),
        ('{"a":1}', '{"a":2}', "Value of root['a'] changed from 1 to 2"),
        ("abcdef", "abc", "cut after 3 of 6 characters"),
        ("abc", "abcdef", "3 characters were added at the end"),
        ("aBc", "AbC", "the case was changed"),
        ("abc", "xyz", "the value is another"),
        (0.1, struct.unpack("<f", struct.pack("<f", 0.1))[0], "rounded to single precision"),
        (-0.0, 0.0, "the sign of zero was lost"),
        (1.23456, 1.23, "rounded to 2 decimals"),
        (0.1 + 0.2, 0.3, "rounded to 1 decimals"),
        (1e300, 2e300, "the value is another"),
        (2**53 + 1, 2**53, "an integer lost digits on its way through a real"),
        (2**40 + 5, 5, "an integer was cut to 32 bits"),
        (1, 2, "the value is another"),
        (b"abc", b"", "the blob became an empty one"),
        (b"abcd", b"ab", "the blob was cut after 2 of 4 bytes"),
        (VECTOR, struct.pack(">3f", 1.0, 2.0, 3.0), "the byte order of the vector was turned"),
        (VECTOR, struct.pack("<3f", 1.0, 2.0, 4.0), "1 of 3 32-bit values of the blob are others"),
        (b"abc", b"xyzw", "the value is another"),
    ],
)
def test_the_cause_is_recognised(expected: Value, actual: Value, words: str) -> None:
    assert words in cause_of(expected, actual)


def test_only_the_columns_that_differ_by_value_or_type_are_named() -> None:
    expected = (1, 1, -0.0, "a", b"a", None, 0.5)
    actual = (1, 1.0, 0.0, b"a", b"b", "", 0.5)
    names = tuple("abcdefg")
    assert changed_columns(expected, actual, names) == [1, 2, 3, 4, 5]
