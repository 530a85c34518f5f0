"""The report of a rehearsal, a scenario, an audit or a gate: JSON, a page, a summary, JUnit."""

from harness.report.files import load, write
from harness.report.words import summary_line

__all__ = ["load", "summary_line", "write"]
