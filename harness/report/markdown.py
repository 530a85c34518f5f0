"""Renders the report as Markdown: a summary for a CI job's page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.report.words import (
    VERDICT_WORDS,
    count,
    facts,
    felt,
    headline,
    place,
    seconds,
    short,
    vouching_words,
)

__all__ = ["escape_markdown", "render_markdown"]

_SHOWN = 20
_SIGNS = {"valid": "✅", "unknown": "❔", "invalid": "❌"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~&<>])")


def escape_markdown(value: object) -> str:
    """Return any text so that Markdown shows it as it is, on one line."""
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))
    return _SPECIAL.sub(r"\\\1", line).replace("\\<", "&lt;").replace("\\>", "&gt;")


def render_markdown(document: Mapping[str, Any]) -> str:
    """Return the document as Markdown: verdict, figures, checks, the first findings."""
    title, sentence = headline(document)
    verdict = document["verdict"]
    vouched = vouching_words(document)
    lines = [
        f"# {_SIGNS[verdict]} {VERDICT_WORDS[verdict]}: {escape_markdown(document['title'])}",
        "",
        f"**{escape_markdown(title)}** {escape_markdown(sentence)}",
        "",
        " · ".join(f"**{figure}** {label}" for figure, label in facts(document)),
        "",
        f"_{escape_markdown(vouched[:1].upper() + vouched[1:])}._",
        "",
        *[f"- **Not examined: {escape_markdown(what)}.**" for what in document["not_examined"]],
        *[f"- Left out: {escape_markdown(what)}." for what in document["left_out"]],
        *([""] if document["not_examined"] or document["left_out"] else []),
        *_checks(document),
        *_findings(document),
        *_loads(document),
        *_extras(document),
        *_bound(document),
    ]
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    made = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    made += [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in rows]
    return [*made, ""]


def _checks(document: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            check["checker"],
            f"{_SIGNS[check['verdict']]} {check['verdict']}",
            ", ".join(f"{number:,} {kind}" for kind, number in check["examined"].items())
            or "nothing",
            f"{check['errors']:,}",
            f"{check['warnings']:,}",
        )
        for check in document["checks"]
    ]
    return ["## Checks", "", *_table(("check", "verdict", "examined", "errors", "warnings"), rows)]


def _findings(document: Mapping[str, Any]) -> list[str]:
    found = [finding for finding in document["findings"] if finding["severity"] != "note"]
    found.sort(key=lambda finding: finding["severity"] != "error")
    if not found:
        return []
    rows = [(f["severity"], f["rule"], place(f), f["cause"], f["run"]) for f in found[:_SHOWN]]
    more = f"The first {_SHOWN} of {len(found):,}; all of them are in report.json."
    replays = list(dict.fromkeys(f["replay"] for f in found if f["replay"]))[:_SHOWN]
    return [
        "## Findings",
        "",
        *_table(("severity", "rule", "where", "cause", "run"), rows),
        *([more, ""] if len(found) > _SHOWN else []),
        *(["See again with:", ""] if replays else []),
        *(f"    {' '.join(replay.split())}" for replay in replays),
        *([""] if replays else []),
    ]


def _loads(document: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            load["run"],
            f"{load['requests']:,}",
            f"{load['failed']:,}" + f" ({load['excused']:,} excused)" * bool(load["excused"]),
            f"{load['holds']:,}",
            "none" if load["gap_ms_max"] is None else f"{load['gap_ms_max']:,.1f} ms",
        )
        for load in felt(document)
    ]
    heads = ("run", "requests", "failed", "holds", "longest gap")
    return ["## Under load", "", *_table(heads, rows)] if rows else []


def _extras(document: Mapping[str, Any]) -> list[str]:
    lines = []
    matrix, crashes = document["mutants"], document["crash_points"]
    if matrix:
        lines.append(
            f"- Mutants: {matrix['caught']} of {matrix['tried']} caught;"
            f" {matrix['defined']} are defined."
        )
        lines += [
            f"  - survived: **{escape_markdown(mutant['name'])}**: "
            f"{escape_markdown(mutant['summary'])}"
            for mutant in matrix["mutants"]
            if not mutant["caught"]
        ]
    if crashes:
        lines.append(
            f"- Crash points: {crashes['tried']:,} tried, {crashes['converged']:,} converged."
        )
    lines += [
        f"- {escape_markdown(c['claim'].rstrip('.'))}: {c['examples']:,} examples,"
        f" {c['per_minute']:,.0f} a minute, {len(c['failures'])} failed."
        for c in document["campaigns"]
    ]
    if alarms := document["false_alarms"]:
        lines.append(
            f"- False alarms: {len(alarms['alarms'])} in {alarms['fixtures']:,} built fixtures."
        )
    residue = [table for run in document["runs"] for table in run["residue"]]
    if residue:
        values = sum(table["values"] for table in residue)
        rows = sum(table["rows"] for table in residue)
        lines.append(
            f"- Residue: {count(values, 'value')} of {count(rows, 'row')} live only beside their"
            " unified rows."
        )
    return [*lines, ""] if lines else []


def _bound(document: Mapping[str, Any]) -> list[str]:
    git = document["git"]
    commit = f"{short(git['commit'])}{'' if git['clean'] else ', with changes'}" if git else "none"
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    elapsed = sum(run["elapsed_s"] for run in document["runs"])
    return [
        f"<sub>{escape_markdown(document['started_at'])} to"
        f" {escape_markdown(document['finished_at'])} ({seconds(elapsed)} in runs) · commit"
        f" {escape_markdown(commit)} · {escape_markdown(versions)}</sub>"
    ]
