"""Makes the pictures of docs/release-managers.md from real reports, with a real browser.

`python docs/pictures/make.py --gate reports/gate --rehearsal rehearsal` takes the report of
`make gate` and one of `harness rehearse`, signed and approved. Debian's chromium is needed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent.parent / "tests"))
from browser import chromium  # noqa: E402 - the tests' browser is the one that is taken here, too

WIDTH, MARGIN, HEIGHT_MAX = 1080, 14, 760
APPROVALS = "approvals/approvals.html"
MOVED = '#load .card:has(h3:text-is("there-and-back"))'


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, the report that it shows a part of, and which part: from one element to another."""

    file: str
    report: str
    first: str
    last: str
    page: str = "report.html"


PICTURES = (
    Picture("verdict.png", "rehearsal", ".kicker", ".vouch"),
    Picture("checks.png", "rehearsal", "#checks .card >> nth=2", "#checks .card >> nth=3"),
    Picture("not-examined.png", "gate", "#checks-title", "#checks .cut >> nth=-1"),
    Picture("ledger.png", "rehearsal", "#ledger-title", "#ledger tbody tr >> nth=7"),
    Picture("under-load.png", "gate", f"{MOVED} header", f"{MOVED} figure >> nth=0"),
    Picture("bound.png", "rehearsal", "#bound .subjects", "#bound .subjects tbody tr >> nth=-1"),
    Picture(
        "approvals.png", "rehearsal", "#demands .scroll", "#signatures .card >> nth=0", APPROVALS
    ),
)


def take(browser: Browser, reports: dict[str, Path], out: Path) -> list[Path]:
    """Write each picture into `out`; a part that a report does not have is an error by name."""
    made = []
    for name, folder in reports.items():
        with browser.new_page(
            viewport={"width": WIDTH, "height": 900}, color_scheme="light", reduced_motion="reduce"
        ) as page:
            for picture in PICTURES:
                if picture.report == name:
                    page.goto((folder / picture.page).resolve().as_uri())
                    made.append(_shoot(page, picture, out))
    return made


def _shoot(page: Page, picture: Picture, out: Path) -> Path:
    boxes = [page.locator(one).first.bounding_box() for one in (picture.first, picture.last)]
    if boxes[0] is None or boxes[1] is None:
        raise SystemExit(f"{picture.file}: its report has no {picture.first} … {picture.last}")
    column = page.locator(
        "main" if picture.first != ".kicker" else ".masthead .wrap"
    ).bounding_box()
    assert column is not None  # noqa: S101 - each page has both
    top = boxes[0]["y"] - MARGIN
    bottom = boxes[1]["y"] + boxes[1]["height"] + MARGIN
    clip = {
        "x": column["x"] - MARGIN if picture.first != ".kicker" else column["x"],
        "y": top,
        "width": column["width"] + (2 * MARGIN if picture.first != ".kicker" else 0),
        "height": min(bottom - top, HEIGHT_MAX),
    }
    path = out / picture.file
    page.screenshot(path=path, clip=clip, full_page=True, animations="disabled")
    return path


def main() -> None:
    """Take the pictures, and tell how large each is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gate", type=Path, default=Path("reports/gate"))
    parser.add_argument("--rehearsal", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    reports = {"gate": given.gate, "rehearsal": given.rehearsal}
    for picture in PICTURES:
        if not (reports[picture.report] / picture.page).is_file():
            raise SystemExit(
                f"{reports[picture.report]} holds no {picture.page}; make gate, or harness rehearse"
                " and harness approve, first"
            )
    with chromium() as browser:
        if browser is None:
            raise SystemExit("there is no chromium here: apt-get install chromium")
        for path in take(browser, reports, given.out):
            print(f"{path.name:<18} {path.stat().st_size:>8,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
