"""Histories written by hand: one line a call, `client kind key value began-ended came`."""

from __future__ import annotations

import report_inputs

from harness.checkers.downtime import check
from harness.checkers.holdings import Holding
from harness.history import Call, History, Kind, Mark, Start
from harness.report.model import RunSection

PREFIX = "load1-"
SERVICE = "database-manager"


def written(*lines: str, marks: tuple[Mark, ...] = ()) -> History:
    """Return the history of calls such as `1 create a=v1 0-5 ok` and `2 read a=v1 6-7`.

    Times are in milliseconds; an end that is left out (`6-`) never came. A read's value is what it
    saw, `-` for absent. What came is `ok`, `fail`, `info` or a status; `ok` where it is left out.
    """
    calls = tuple(_call(number, *line.split()) for number, line in enumerate(lines))
    return History(start=Start(1, 0, "", PREFIX, 1, (SERVICE,)), calls=calls, marks=marks)


def _call(number: int, client: str, kind: Kind, what: str, when: str, came: str = "ok") -> Call:
    pairs = [part.partition("=")[::2] for part in what.split(",")]
    key, value = pairs[0]
    began, _, ended = when.partition("-")
    came = came if ended else "info"
    write = kind in ("create", "update", "delete")
    status = int(came) if came.isdigit() else 200 if came == "ok" else None
    absent = status == 404
    saw = tuple((k, None if v == "-" else v) for k, v in pairs) if not write else ()
    if write and absent:
        saw = ((key, None),)
    return Call(
        number, int(client), SERVICE, kind, "task",
        None if kind == "list" else key,
        value or None if write and kind != "delete" else None,
        int(began) * 1_000_000,
        int(ended) * 1_000_000 if ended else None,
        "ok" if came.isdigit() else came,  # type: ignore[arg-type]
        status, None, key if write and came == "ok" else None, saw if ended else (),
    )  # fmt: skip


def held(*rows: str, place: str = "legacy") -> dict[str, Holding]:
    """Return the place of the service, with rows such as `a=v1`."""
    pairs = tuple(row.partition("=")[::2] for row in rows)
    return {SERVICE: Holding(place=place, rows={"task": pairs})}  # type: ignore[dict-item]


def section(name: str) -> RunSection:
    """A report's run in which clients felt a hold, and one of 101 requests failed."""
    times = (("hold", 200), ("switch", 230), ("release", 231))
    marks = tuple(Mark(mark, at * 1_000_000) for mark, at in times)
    lines = [f"1 read a=- {n * 5}-{n * 5 + 3}" for n in range(100)]
    told = written(*lines, "2 read a=- 250-254 fail", marks=marks)
    return report_inputs.section(name, [check(told)])
