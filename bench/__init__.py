"""Measures the gate, the migration and the services; asserts nothing about time."""

from __future__ import annotations

import devflow.services  # noqa: F401 - before NumPy: it says how many threads NumPy has in a service
