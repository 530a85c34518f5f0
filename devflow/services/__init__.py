"""The unified services: each one FastAPI application over the one database."""

from __future__ import annotations

import os

# Before NumPy is loaded: requests are served side by side, and where each of them has a thread on
# every core multiply its one matrix, they mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
