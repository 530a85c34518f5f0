"""Runs `python -m devflow`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from devflow.operator import main

        code = main()
    except KeyboardInterrupt:  # it came while modules were loaded, before anything was begun
        sys.stderr.write("error: interrupted; run the same command again\n")
        code = 1
    sys.exit(code)
