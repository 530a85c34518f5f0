"""Reads what `make bench` measured last, so that a report can show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import BadInputError
from harness.report.model import Benchmark, Benchmarks

__all__ = ["read_benchmarks"]


def read_benchmarks(path: Path) -> Benchmarks | None:
    """Return the measurements in `path`; None where none were made of the services.

    BadInputError where the file is there and is not what `make bench` writes.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not document.get("serving"):
            return None
        return Benchmarks(
            measured_at=str(document["measured_at"]),
            commit=str(document["commit"]),
            rows=tuple(
                Benchmark(
                    operation=str(row["operation"]),
                    memories=int(row["memories"]),
                    clients=int(row["clients"]),
                    before=float(row["before"]["per_second"]),
                    after=float(row["after"]["per_second"]),
                )
                for row in document["serving"]
            ),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path} is not what `make bench` writes; remove it or measure again"
        ) from error
