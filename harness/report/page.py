"""Renders the report as one self-contained HTML page: no network, no script, everything escaped.

The page is made from the document of report.json alone. Its policy (a `Content-Security-Policy`
in the page) forbids scripts and the network, so that a value that slipped through could do nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.candidate import PHASES
from harness.model import Verdict, worst
from harness.report import covered, words
from harness.report.timeline import draw_timeline

__all__ = ["figures", "render", "render_page", "timeline", "visible"]

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN_A_CHECK = 100
_BACKTICKS = re.compile(r"`([^`]+)`")
_SIGNS = {"valid": "✓", "unknown": "?", "invalid": "✗"}
_PALETTE = 8
_SHOWN_ELSEWHERE = {
    "ledger": ("root", "leaves", "dispositions", "tables"),
    "schema": ("decisions",),
    "rows": ("residue",),
    "convergence": ("points",),
    "downtime": ("timeline",),
}


def render_page(document: Mapping[str, Any]) -> str:
    """Return the document as an HTML page."""
    title, sentence = words.headline(document)
    return render(
        "page.html.j2",
        verdict=document["verdict"],
        report=document,
        headline=title,
        sentence=sentence,
        facts=[*words.facts(document), *_more_facts(document)],
        vouched=words.vouching_words(document),
        found=_found(document, ("error", "warning")),
        faults=_faults(document),
        notes=_notes(document),
        ledger=_ledger(document),
        residue=_residue(document),
        decisions=_decisions(document),
        crashes=_crashes(document),
        timelines=_timelines(document),
        checkers=[check["checker"] for check in document["checks"]],
        covered={
            "settings": list(covered.settings(document)),
            "things": covered.things(document),
            "commands": covered.commands(document),
        },
    )


def render(template: str, **values: Any) -> str:
    """Return one of the templates as a page; `verdict` is what gives it its colour."""
    css = Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - our own
    return _environment().get_template(template).render(css=css, **values)


def visible(value: Any) -> Any:
    """Return text with what cannot be seen written out (`\\x00`, `\\u202e`); the rest as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else _written_out(c) for c in value)


def _prose(text: str) -> Markup:
    """Return a sentence escaped, with what stands between backticks as code."""
    shown = str(escape(visible(text)))
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", shown))  # noqa: S704 - escaped before


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "by_checker": _by_checker,
        "count": words.count,
        "moment": lambda text: text.replace("T", " ").replace("Z", " UTC"),
        "number": lambda value: f"{value:,}",
        "percent": words.percent,
        "place": words.place,
        "prose": _prose,
        "seconds": words.seconds,
        "short": words.short,
        "timeline": timeline,
        "figures": figures,
        "tone": lambda index: f"c{index % _PALETTE}",
    }
    environment.tests["contains"] = lambda items, item: item in items
    environment.globals |= {"signs": _SIGNS, "verdict_words": words.VERDICT_WORDS}
    return environment


def _by_checker(checks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return each checker's verdict in a run; of one that was asked several times, the worst."""
    made: dict[str, list[Verdict]] = {}
    for check in checks:
        made.setdefault(check["checker"], []).append(Verdict(check["verdict"]))
    return {checker: worst(verdicts).value for checker, verdicts in made.items()}


def _found(document: Mapping[str, Any], severities: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return findings of `severities` by checker, the worst first, cut to what a page can show."""
    groups = []
    for check in document["checks"]:
        mine = [
            finding
            for severity in severities
            for finding in document["findings"]
            if (finding["checker"], finding["severity"]) == (check["checker"], severity)
        ]
        replays = {finding["replay"] for finding in mine}
        if mine:
            groups.append(
                {
                    "checker": check["checker"],
                    "verdict": check["verdict"],
                    "total": len(mine),
                    "shown": mine[:_SHOWN_A_CHECK],
                    "rules": Counter(finding["rule"] for finding in mine).most_common(),
                    "replay": replays.pop() if len(replays) == 1 else None,
                }
            )
    return groups


def _faults(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what spoils the verdict and is no finding of a checker, each with its replay line."""
    faults: list[dict[str, Any]] = []

    def add(what: str, cause: str, replay: str | None) -> None:
        faults.append({"what": what, "cause": cause, "replay": replay})

    for mutant in document["mutants"]["mutants"] if document["mutants"] else ():
        if not mutant["caught"]:
            replay = f"harness mutants --only {mutant['name']}"
            add("mutant not caught", f"{mutant['name']}: {mutant['summary']}", replay)
    for point in document["crash_points"]["points"] if document["crash_points"] else ():
        if not point["converged"]:
            where = f"killed in {point['phase']}/{point['step']}, then {point['then']}"
            add("crash point", f"{where}: {point['text'] or 'did not converge'}", point["replay"])
    for campaign in document["campaigns"]:
        for failure in campaign["failures"]:
            add("property broken", campaign["claim"], failure)
    for alarm in document["false_alarms"]["alarms"] if document["false_alarms"] else ():
        add("false alarm", "A sound migration was called invalid.", alarm)
    told = {finding["run"] for finding in document["findings"] if finding["severity"] == "error"}
    for run in document["runs"]:
        if run["verdict"] == "invalid" and run["name"] not in told:
            expected = (
                f"It was expected that it {run['expectation']}." if run["expectation"] else ""
            )
            add("run went wrong", f"{run['name']}. {expected}".strip(), run["replay"])
    return faults


def _notes(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the notes, what several runs say alike only once, with the names of the runs."""
    keys = ("checker", "database", "table", "key", "column", "cause", "expected", "actual")
    alike: dict[tuple[Any, ...], dict[str, Any]] = {}
    for finding in document["findings"]:
        if finding["severity"] == "note":
            place = tuple(finding[key] for key in keys)
            alike.setdefault(place, {**finding, "runs": []})["runs"].append(finding["run"])
    return list(alike.values())


def _more_facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return figures for the page's head that a single run has room for."""
    if len(document["runs"]) != 1:
        return []
    run = document["runs"][0]
    made = []
    if repaired := sum(decision["decision"] == "repaired" for decision in run["decisions"]):
        made.append((f"{repaired:,}", "schema objects repaired"))
    if run["residue"]:
        values = sum(table["values"] for table in run["residue"])
        made.append((f"{values:,}", "values only in the residue"))
    made.append((words.seconds(run["elapsed_s"]), "in all"))
    return made


def _ledger(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ledgers of all runs: their sum, the tables of a single one, each root."""
    runs = [run for run in document["runs"] if run["ledger"]]
    if not runs:
        return None
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run["ledger"]["dispositions"])
    kinds = [kind for kind, _ in total.most_common()]
    tables = runs[0]["ledger"]["tables"] if len(runs) == 1 else ()
    return {
        "leaves": sum(run["ledger"]["leaves"] for run in runs),
        "tones": {kind: index for index, kind in enumerate(kinds)},
        "parts": _parts(total, kinds),
        "tables": [
            {**table, "parts": _parts(table["dispositions"], kinds)}
            for table in sorted(tables, key=lambda table: (table["source"], -table["rows"]))
            if table["rows"]
        ],
        "empty": sum(not table["rows"] for table in tables),
        "roots": [(run["name"], run["ledger"]["root"], run["ledger"]["leaves"]) for run in runs],
    }


def _parts(counts: Mapping[str, int], kinds: Iterable[str]) -> list[dict[str, Any]]:
    whole = sum(counts.values()) or 1
    start, parts = 0.0, []
    for kind in kinds:
        if number := counts.get(kind, 0):
            share = number / whole
            parts.append({"name": kind, "number": number, "share": share, "start": start})
            start += share
    return parts


def _residue(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the columns that have residue, summed over the runs, the largest share first."""
    columns: dict[tuple[str, str], list[int]] = {}
    rows, of = 0, 0
    for run in document["runs"]:
        for table in run["residue"]:
            rows, of = rows + table["rows"], of + table["of"]
            for name, number in table["columns"].items():
                sums = columns.setdefault((f"{table['source']}.{table['table']}", name), [0, 0])
                sums[0] += number
                sums[1] += table["of"]
    if not columns:
        return None
    cells: list[dict[str, Any]] = [
        {"table": table, "column": name, "number": number, "of": whole,
         "share": number / whole if whole else 0.0}
        for (table, name), (number, whole) in columns.items()
    ]  # fmt: skip
    cells.sort(key=lambda cell: (-cell["share"], cell["table"], cell["column"]))
    total = sum(cell["number"] for cell in cells)
    return {"cells": cells, "total": total, "rows": rows, "of": of}


def _decisions(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return each schema decision once with the runs that took it, grouped by what was decided."""
    seen: dict[tuple[str, ...], list[str]] = {}
    keys = ("decision", "source", "type", "name", "rule", "unified_name")
    for run in document["runs"]:
        for decision in run["decisions"]:
            seen.setdefault(tuple(decision[key] or "" for key in keys), []).append(run["name"])
    if not seen:
        return None
    rows = [
        {**dict(zip(keys, values, strict=True)), "runs": len(runs)} for values, runs in seen.items()
    ]
    rows.sort(key=lambda row: tuple(str(row[key]) for key in keys))
    counts = Counter(row["decision"] for row in rows)
    named = any(row["unified_name"] for row in rows)
    return {"rows": rows, "counts": counts.most_common(), "total": len(rows), "named": named}


def _crashes(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the crash points by phase, in the order of the phases."""
    crashes = document["crash_points"]
    phases: dict[str, list[Mapping[str, Any]]] = {name: [] for name in (*PHASES, "rollback")}
    for point in crashes["points"] if crashes else ():
        phases.setdefault(point["phase"], []).append(point)
    return [
        {
            "phase": phase,
            "points": points,
            "tried": len(points),
            "converged": sum(point["converged"] for point in points),
        }
        for phase, points in phases.items()
        if points
    ]


def _timelines(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the drawings of what clients felt, of each run with a load."""
    drawn = []
    for number, run in enumerate(document["runs"]):
        for check in run["checks"]:
            told = check["details"].get("timeline") if check["checker"] == "downtime" else None
            if told:
                charts = draw_timeline(told, f"timeline-{number}")
                drawn.append({"run": run["name"], "details": check["details"], "charts": charts})
    return drawn


def timeline(steps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return commands and, below each, its phases, with `start` and `share` of the whole, 0..1.

    A step without a phase is a command of the harness; those with one are the candidate's, and
    belong to the command before them.
    """
    rows: list[dict[str, Any]] = []
    for step in steps:
        if step["phase"] is None:
            rows.append({**step, "level": 0, "steps": []})
        elif rows and rows[-1]["phase"] == step["phase"]:
            rows[-1]["elapsed_s"] += step["elapsed_s"]
            rows[-1]["steps"].append(step)
        else:
            rows.append(
                {"phase": step["phase"], "name": step["phase"], "outcome": "", "level": 1,
                 "elapsed_s": step["elapsed_s"], "steps": [step]}
            )  # fmt: skip
    commands = [row for row in rows if row["level"] == 0]
    whole = sum(row["elapsed_s"] for row in commands or rows) or 1.0
    elapsed_s, within_s = 0.0, 0.0
    for row in rows:
        if row["level"] == 0 or not commands:
            row["start"], within_s = elapsed_s / whole, elapsed_s
            elapsed_s += row["elapsed_s"]
        else:
            row["start"] = min(within_s / whole, 1.0)
            within_s += row["elapsed_s"]
        row["share"] = min(row["elapsed_s"] / whole, 1.0 - row["start"])
    return rows


def figures(check: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a check's details as small tables: single figures first, then each table of them."""
    single, tables = [], []
    shown = _SHOWN_ELSEWHERE.get(check["checker"], ())
    for name, value in check["details"].items():
        if name in shown or value in ([], {}, "", None):
            continue
        if _flat(value):
            single.append((name, _on_a_line(value)))
        elif isinstance(value, dict) and all(_flat(item) for item in value.values()):
            pairs = [(key, _on_a_line(item)) for key, item in value.items()]
            tables.append({"title": name, "heads": (), "rows": pairs})
        else:
            tables.append(_nested(name, value))
    first = [{"title": "", "heads": (), "rows": single}] if single else []
    return first + [table for table in tables if table["rows"]]


def _nested(name: str, value: Any) -> dict[str, Any]:
    """Return a list of objects, or an object of them, as a table; anything deeper has no rows."""
    keyed = isinstance(value, dict)
    items = value.items() if keyed else ((None, item) for item in value)
    listed = [(key, item) for key, item in items if isinstance(item, dict)]
    heads = list(dict.fromkeys(head for _, item in listed for head in item))
    rows = [
        ([key] if keyed else []) + [_on_a_line(item.get(head, "")) for head in heads]
        for key, item in listed
    ]
    return {"title": name, "heads": ["", *heads] if keyed else heads, "rows": rows}


def _flat(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | int | float) for item in value)
    return value is None or isinstance(value, str | int | float)


def _on_a_line(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
