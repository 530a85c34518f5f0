"""A second process that reads one side of a comparison while the first reads the other."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any

import apsw
import numpy as np

from harness.checkers.aligned import left_over
from harness.checkers.digests import Digest, Side, digest, encoded_rows
from harness.errors import InvariantError

__all__ = ["Worker", "WorkerError"]

_LENGTH = struct.Struct("<I")


class WorkerError(Exception):
    """The side's SQL failed in the worker; the text is SQLite's."""


class Worker:
    """Digests a side and fetches its rows elsewhere: ask first, do other work, then take.

    The protocol is a line of JSON each way, an answer's line followed by `size` bytes.
    """

    def __init__(self) -> None:
        """Start nothing yet: the process starts when it is first asked."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        """Return the worker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, whatever it is doing: it only reads."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def ask_digest(self, side: Side, *, buckets: int) -> None:
        """Let the worker begin on a side's digest."""
        self._ask({"side": asdict(side), "buckets": buckets, "wanted": None})

    def digest(self) -> Digest:
        """Wait for the digest."""
        head, body = self._answer()
        sums = np.frombuffer(body, np.uint64).reshape(2, -1)
        return Digest(sums, head["rows"], head["bytes"])

    def ask_rows(self, side: Side, *, buckets: int, wanted: frozenset[int]) -> None:
        """Let the worker begin on the rows of these buckets."""
        self._ask({"side": asdict(side), "buckets": buckets, "wanted": sorted(wanted)})

    def rows(self) -> Iterator[bytes]:
        """Wait for the rows and yield each, encoded."""
        _, body = self._answer()
        start = 0
        while start < len(body):
            (length,) = _LENGTH.unpack_from(body, start)
            start += _LENGTH.size
            yield body[start : start + length]
            start += length

    def ask_left_over(self, left: Side, right: Side, span: tuple[int, int]) -> None:
        """Let the worker begin on `aligned.left_over`."""
        self._ask({"left": asdict(left), "side": asdict(right), "span": span})

    def left_over(self) -> list[int] | None:
        """Wait for what is left over."""
        head, _ = self._answer()
        numbers: list[int] | None = head["left_over"]
        return numbers

    def _ask(self, what: dict[str, Any]) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.checkers.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        stream = _stream(self._process.stdin)
        stream.write(json.dumps(what).encode() + b"\n")
        stream.flush()

    def _answer(self) -> tuple[dict[str, Any], bytes]:
        if self._process is None:
            raise InvariantError("a worker was to answer what nobody had asked")
        stream = _stream(self._process.stdout)
        line = stream.readline()
        if not line:
            raise InvariantError(
                f"the process that digests the other side ended with {self._process.wait()}"
            )
        head = json.loads(line)
        if "error" in head:
            raise WorkerError(head["error"])
        return head, stream.read(head["size"])


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise InvariantError("a worker was started without pipes")
    return pipe


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    side = Side.from_json(request["side"])
    try:
        if "span" in request:
            low, high = request["span"]
            return {"left_over": left_over(Side.from_json(request["left"]), side, (low, high))}, b""
        buckets = request["buckets"]
        with closing(side.connect()) as connection:
            if request["wanted"] is None:
                result = digest(connection, side, buckets=buckets)
                return {"rows": result.rows, "bytes": result.size}, result.sums.tobytes()
            wanted = frozenset(request["wanted"])
            rows = encoded_rows(connection, side, buckets=buckets, wanted=wanted)
            return {}, b"".join(_LENGTH.pack(len(row)) + row for row in rows)
    except apsw.Error as error:
        return {"error": str(error)}, b""


def main() -> None:
    """Answer each line of stdin until it ends."""
    for line in sys.stdin.buffer:
        head, body = _answer(json.loads(line))
        sys.stdout.buffer.write(json.dumps({**head, "size": len(body)}).encode() + b"\n" + body)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
