"""What the report says in words and figures: the verdict's sentence, counts, the summary line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "VERDICT_WORDS",
    "VOUCHED_BY_NOBODY",
    "count",
    "examined_rows",
    "facts",
    "felt",
    "headline",
    "percent",
    "place",
    "seconds",
    "short",
    "summary_line",
    "vouching_words",
]

VERDICT_WORDS: Mapping[str, str] = {"valid": "Valid", "unknown": "Unknown", "invalid": "Invalid"}
VOUCHED_BY_NOBODY = "throw-away key: nobody vouches for it"
_MINUTES_ALONE = 10  # from here on seconds say nothing


def count(number: int, one: str, many: str | None = None) -> str:
    """Return `1 row`, `2,311 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Return a share 0..1 as per cent; never rounded up to 100 or down to 0."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def seconds(elapsed_s: float) -> str:
    """Return a duration as people say it: `84 ms`, `2.3 s`, `1 min 5 s`, `26 min`, `1 h 12 min`."""
    if elapsed_s < 1:
        return f"{1000 * elapsed_s:.0f} ms"
    if elapsed_s < 60:
        return f"{elapsed_s:.1f} s"
    minutes, rest_s = divmod(int(elapsed_s), 60)
    if minutes < _MINUTES_ALONE:
        return f"{minutes} min {rest_s} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short(digest: str, length: int = 12) -> str:
    """Return the beginning of a digest or key id, as long as people compare."""
    return digest[:length]


def place(finding: Mapping[str, Any]) -> str:
    """Return where a finding is: `legacy.memory_blocks · content · key 17`."""
    table = ".".join(str(part) for part in (finding["database"], finding["table"]) if part)
    key = f"key {finding['key']}" if finding["key"] is not None else None
    return " · ".join(str(part) for part in (table, finding["column"], key) if part)


def examined_rows(document: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many source rows, and lines of the log, the rows checker compared in all."""
    kinds = document["examined"].get("rows", {})
    rows = sum(number for kind, number in kinds.items() if kind.endswith(" rows"))
    return rows, sum(number for kind, number in kinds.items() if kind.endswith(" lines"))


def facts(document: Mapping[str, Any], *, apart: bool = True) -> list[tuple[str, str]]:
    """Return the figures that matter most, as (figure, what it counts), for tiles and lines.

    `apart`: rows and log lines as figures of their own.
    """
    made = []
    runs, checks = len(document["runs"]), sum(check["runs"] for check in document["checks"])
    if document["kind"] == "gate":
        made.append((f"{runs:,}", "scenario" if runs == 1 else "scenarios"))
    made.append((f"{checks:,}", "check" if checks == 1 else "checks"))
    rows, lines = examined_rows(document)
    whats = {"rows": rows, "log lines": lines} if apart else {"rows": rows}
    for what, number in whats.items():
        if number:
            made.append((f"{number:,}", f"{what} {_compared(document)}"))
    if rows and lines and not apart:
        made[-1] = (f"{rows:,}", f"rows and {lines:,} log lines {_compared(document)}")
    if requests := _requests(document):
        made.append((f"{requests:,}", "requests to services"))
    if loads := felt(document):
        failed, sent = (sum(load[what] for load in loads) for what in ("failed", "requests"))
        made.append((f"{failed:,}/{sent:,}", "requests under load failed"))
    if matrix := document["mutants"]:
        defined = matrix.get("defined", matrix["tried"])
        drawn = f", of {defined} defined" if defined > matrix["tried"] else ""
        made.append((f"{matrix['caught']}/{matrix['tried']}", f"mutants caught{drawn}"))
    if crashes := document["crash_points"]:
        made.append((f"{crashes['converged']}/{crashes['tried']}", "crash points converged"))
    if examples := sum(campaign["examples"] for campaign in document["campaigns"]):
        made.append((f"{examples:,}", "generated databases"))
    if alarms := document["false_alarms"]:
        made.append((f"{len(alarms['alarms'])}/{alarms['fixtures']:,}", "false alarms"))
    return made


def felt(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the clients of each run with a load felt.

    A load has its `run`, `requests`, those that `failed` and those that were `excused` because harm
    was done, `holds`, and `gap_ms_max`: the longest that a service answered nobody though somebody
    waited, None where none did.
    """
    found = []
    for run in document["runs"]:
        for check in run["checks"]:
            details = check["details"]
            if check["checker"] == "downtime" and "failed" in details:
                gaps = [one["gap_ms"] for one in details["longest gap"]]
                found.append(
                    {
                        "run": run["name"],
                        "requests": sum(
                            number
                            for kind, number in check["examined"].items()
                            if kind.endswith(" requests")
                        ),
                        "failed": details["failed"],
                        "excused": details["failed and excused"],
                        "holds": details["held"].get("holds", 0),
                        "gap_ms_max": max((gap for gap in gaps if gap is not None), default=None),
                    }
                )
    return found


def _requests(document: Mapping[str, Any]) -> int:
    """Return how many requests the checks of services sent in all, writes before kills too."""
    return sum(
        number
        for check in ("contract", "api", "durability", "containers")
        for kind, number in document["examined"].get(check, {}).items()
        if kind.endswith(("requests", "acknowledged writes"))
    )


def _compared(document: Mapping[str, Any]) -> str:
    verdicts = {c["verdict"] for c in document["checks"] if c["checker"] == "rows"}
    return "proven" if verdicts == {"valid"} else "examined"


def vouching_words(document: Mapping[str, Any]) -> str:
    """Return who vouches for the report, in a sentence without its full stop."""
    vouching = document["vouching"]
    if vouching is None:
        return "not signed: nobody vouches for it"
    if vouching["throwaway"]:
        return VOUCHED_BY_NOBODY
    return f"signed with key {short(vouching['key_id'])}"


def summary_line(document: Mapping[str, Any], report: str | None = None) -> str:
    """Return the report in one line, for a terminal; `report` is the page's path to print."""
    figures = [f"{figure} {label}" for figure, label in facts(document, apart=False)]
    errors = _errors(document)
    if errors:
        figures.insert(0, count(len(errors), "error"))
    vouching = document["vouching"]
    vouched = "" if vouching and not vouching["throwaway"] else f" ({vouching_words(document)})"
    lacking = document["not_examined"]
    blind = f"; NOT EXAMINED: {'; '.join(lacking)}" if lacking else ""
    where = f"; report: {report or document['report']}"
    return f"{document['verdict']}: {', '.join(figures)}{blind}{where}{vouched}"


def headline(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the verdict means to a release manager: a short line and a sentence."""
    verdict, kind = document["verdict"], document["kind"]
    what = {"audit": "The audited migration"}.get(kind, "The migration")
    if verdict == "valid":
        return (
            f"{what} kept everything that was examined.",
            _kept(document),
        )
    if verdict == "unknown":
        blind = [check["checker"] for check in document["checks"] if check["verdict"] == "unknown"]
        why = f"Nothing was examined by {_checks(blind)}." if blind else "Nothing was examined."
        return (
            "Not proven: do not cut over on this report.",
            f"{why} What was not looked at is not known to be safe.",
        )
    return ("Do not cut over: this report found faults.", _faults(document))


def _kept(document: Mapping[str, Any]) -> str:
    rows, lines = examined_rows(document)
    kept = [count(rows, "source row")] * bool(rows) + [count(lines, "log line")] * bool(lines)
    unseen = document["not_examined"]
    proven = (
        f"{_listed(kept)} can be rebuilt exactly from the unified database alone."
        if kept
        else "Every checker found what it looked for."
    )
    warnings: int = sum(check["warnings"] for check in document["checks"])
    be = "is" if warnings == 1 else "are"
    if warnings:
        proven += f" There {be} {count(warnings, 'warning')} to read."
    return proven + (f" Not examined here: {_listed(unseen)}." if unseen else "")


def _faults(document: Mapping[str, Any]) -> str:
    said = []
    if errors := _errors(document):
        by = list(dict.fromkeys(finding["checker"] for finding in errors))
        said.append(f"{count(len(errors), 'error')} found by {_checks(by)}")
    matrix = document["mutants"]
    if matrix and matrix["caught"] < matrix["tried"]:
        said.append(count(matrix["tried"] - matrix["caught"], "mutant") + " not caught")
    crashes = document["crash_points"]
    if crashes and crashes["converged"] < crashes["tried"]:
        lost = crashes["tried"] - crashes["converged"]
        said.append(count(lost, "crash point") + " that did not converge")
    if failed := sum(len(campaign["failures"]) for campaign in document["campaigns"]):
        said.append(count(failed, "generated database") + " that broke a property")
    if document["false_alarms"] and document["false_alarms"]["alarms"]:
        said.append(count(len(document["false_alarms"]["alarms"]), "false alarm"))
    broken = [run["name"] for run in document["runs"] if run["verdict"] == "invalid"]
    if not said and broken:
        said.append(f"{count(len(broken), 'run')} went wrong: {_listed(broken)}")
    return _listed(said)[:1].upper() + _listed(said)[1:] + "."


def _errors(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [finding for finding in document["findings"] if finding["severity"] == "error"]


def _checks(names: list[str]) -> str:
    return f"the {'check' if len(names) == 1 else 'checks'} {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    made = list(names)
    return made[0] if len(made) == 1 else ", ".join(made[:-1]) + " and " + made[-1] if made else ""
