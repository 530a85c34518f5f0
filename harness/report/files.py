"""Writes the files of a report, from report.json to report.sarif, each atomically."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import BadInputError, EnvironmentFaultError
from harness.report.document import FORMAT, as_document
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.model import ReportInput
from harness.report.page import render_page
from harness.report.sarif import render_sarif

__all__ = ["REPORT_FILES", "load", "write", "write_atomically"]

REPORT_FILES = ("report.json", "report.html", "report.md", "junit.xml", "report.sarif")


def write(run: ReportInput, out: Path) -> Path:
    """Write the report into the folder `out` and return the path of report.json.

    report.json comes last: where it is, the others are whole. EnvironmentFaultError where the
    folder cannot be written.
    """
    document = as_document(run)
    write_atomically(out / "report.html", render_page(document).encode())
    write_atomically(out / "report.md", render_markdown(document).encode())
    write_atomically(out / "junit.xml", render_junit(document))
    write_atomically(out / "report.sarif", render_sarif(document))
    truth = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_atomically(out / "report.json", truth.encode())


def load(report: Path) -> dict[str, Any]:
    """Read a report.json, or that of a report's folder; BadInputError where it is none."""
    path = report / "report.json" if report.is_dir() else report
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); name a report's folder."
        ) from error
    except ValueError as error:
        raise BadInputError(f"{path} is not JSON ({error}); name a report.json.") from error
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadInputError(f"{path} is not a report of format {FORMAT}; name a report's folder.")
    return dict(document)


def write_atomically(path: Path, content: bytes) -> Path:
    """Write `content` so that `path` holds either what it held or all of it, also after a crash."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise EnvironmentFaultError(
            f"{path} cannot be written ({error.strerror}); name another folder with --out."
        ) from error
    return path
