"""Runs `python -m devflow`."""

from __future__ import annotations

import sys

from devflow.operator import main

if __name__ == "__main__":
    sys.exit(main())
