"""Bodies are read quickly, and as json.loads reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from devflow.services.bodies import read_json

Served = Callable[..., TestClient]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def outcome(read: Callable[[bytes], object], body: bytes) -> str:
    try:
        return repr(read(body))
    except ValueError as error:
        return type(error).__name__


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_as_json_reads_it(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert outcome(read_json, body) == outcome(json.loads, body)


@given(
    st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789.eE+-\\untrfalsNI ').map(str.encode)
)
def test_what_is_no_json_is_refused_as_json_refuses_it(body: bytes) -> None:
    assert outcome(read_json, body) == outcome(json.loads, body)


@pytest.mark.parametrize(
    "body",
    [
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b"[" * 500 + b"]" * 500,
        b"1" * 5000,
        b"NaN",
        b"-NaN",
        b"1e999",
        b'{"a": 1, "a": 2}',
        b'"\x01"',
        b"",
    ],
)
def test_odd_bodies_are_read_or_refused_alike(body: bytes) -> None:
    assert outcome(read_json, body) == outcome(json.loads, body)


def test_a_vector_is_read_to_the_last_bit() -> None:
    numbers = [math.sin(n) * 10.0 ** (n % 40 - 20) for n in range(500)]
    assert read_json(json.dumps(numbers).encode()) == numbers


def test_a_body_that_is_no_json_is_malformed(served: Served, empty_database: Path) -> None:
    client = served("vector-memory", empty_database)
    headers = {"content-type": "application/json"}
    for path in ("/store", "/v2/memories"):
        answer = client.post(path, content=b'{"content": ', headers=headers)
        assert answer.status_code == 400
        assert "JSON" in answer.json()["error"]
