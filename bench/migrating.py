"""Migrates a tree as a candidate is called, and times its steps."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from harness.model import DATABASES

__all__ = ["migrate"]


def migrate(tree: str) -> dict[str, Any]:
    """Apply the migration as an operator's command would; tell the seconds of each step."""
    paths = {**DATABASES, "registry": "logs/model-registry.log"}
    request = {"contract": 1, "tree": tree, "paths": paths, "until": "cleanup"}
    steps: dict[str, float] = {}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "devflow.migration", "apply"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None  # noqa: S101 - piped
        assert process.stdout is not None  # noqa: S101 - piped
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.close()
        since = began
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "step_started":
                since = time.perf_counter()
            elif event["event"] == "step_done":
                steps[event["step"]] = time.perf_counter() - since
            elif event["event"] == "error":
                raise SystemExit(f"the migration failed: {event['text']}")
    return {"seconds": time.perf_counter() - began, "steps": steps}
