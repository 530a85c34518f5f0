"""Renders the overview as one HTML page: nothing is loaded but the page itself, again and again."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from devflow.services.store import Row

__all__ = ["CONTENT_SECURITY_POLICY", "render"]

_TEMPLATES = Path(__file__).parent / "templates"
_CSS = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
_HEIGHT = 64
_WIDTH = 10


def _hashed(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode()
    return f"'sha256-{digest}'"


# Our own style and script, and no other: a value that slipped through could do nothing.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_hashed(_CSS)}; script-src {_hashed(_SCRIPT)};"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)
"""The header that the page is to be sent with."""


def render(overview: Row) -> str:
    """Return the page of a `models.Overview`."""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            overview,
            css=Markup(_CSS),  # noqa: S704 - our own
            script=Markup(_SCRIPT),  # noqa: S704 - our own
            bars=_bars(overview),
            unwell=[one for one in overview["services"] if one["status"] != "ok"],
        )
    )


def _bars(overview: Row) -> list[Row]:
    """Return a bar for each of the last 30 days, oldest first: its place and height in pixels."""
    cost_of = {day["date"]: day for day in overview["costs"]["by_day"]}
    last = dt.date.fromisoformat(overview["at"][:10])
    days = [(last - dt.timedelta(back)).isoformat() for back in range(29, -1, -1)]
    most = max((day["cost_usd"] for day in cost_of.values()), default=0.0)
    bars = []
    for place, date in enumerate(days):
        cost = cost_of[date]["cost_usd"] if date in cost_of else 0.0
        height = round(_HEIGHT * max(cost, 0.0) / most, 1) if most > 0 else 0.0
        height = max(height, 1.0)
        bars.append(
            {
                "date": date,
                "cost_usd": cost,
                "requests": cost_of[date]["requests"] if date in cost_of else 0,
                "x": place * _WIDTH,
                "y": _HEIGHT - height,
                "height": height,
            }
        )
    return bars


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": _size, "usd": _usd, "when": _when, "grouped": "{:,}".format}
    return environment


def _size(count: int) -> str:
    """Return bytes in the unit in which they are easily read."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{count:,} bytes" if unit == "bytes" else f"{amount:,.1f} {unit}"


def _usd(amount: float) -> str:
    """Return dollars: cents of what is large, more digits of what is small."""
    return f"${amount:,.2f}" if abs(amount) >= 1 or amount == 0 else f"${amount:.4f}"


def _when(moment: Any) -> str:
    """Return a time to the second, as it stands; a dash where there is none."""
    return "–" if moment is None else f"{str(moment).replace('T', ' ')[:19]} UTC"
