"""A service multiplies matrices in the thread that asks."""

from __future__ import annotations

import os
import subprocess
import sys

COUNTED = """
import devflow.services.vector_memory.codes as codes, numpy as np, os
codes.rotated(np.ones((4096, 768), dtype=np.float32))
print(len(os.listdir("/proc/self/task")))
"""


def threads(**environment: str) -> int:
    inherited = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", COUNTED],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


def test_no_threads_of_a_library_stand_beside_those_of_the_service() -> None:
    assert threads() == 1


def test_an_operator_may_say_otherwise() -> None:
    asked = {"OPENBLAS_NUM_THREADS": "2"}
    assert threads(**asked) == 2 or os.cpu_count() == 1
