"""What keeps the style, where ruff, mypy and import-linter cannot."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import cli

ROOT = Path(__file__).resolve().parent.parent
CODE = ("harness", "devflow", "bench", "tests")
FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 62
DECLARATIONS = {"devflow/migration/tables.py"}  # the plan as data: long, but nothing happens in it

PYTHON = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

# Written in pieces, so that this file does not hold what it forbids.
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE = re.compile(
    r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|opt)/[a-z]"
    r"|py" + r"pi\.org|python" + r"hosted|local" + r"host:\d+/simple"
)
EVASIONS = re.compile(
    r"mark\.(?:sk" + r"ip|xf" + r"ail)|pytest\.(?:sk" + r"ip|xf" + r"ail)\(|\bMagic" + r"Mock\b"
)


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def _lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate((_text(path) or "").splitlines(), start=1)
        if pattern.search(line)
    ]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_python_file_is_too_long_to_be_read_at_once() -> None:
    lines = {path: len(path.read_bytes().splitlines()) for path in PYTHON}
    long = {str(p.relative_to(ROOT)) for p, number in lines.items() if number > FILE_LINES_MAX}
    assert long <= DECLARATIONS


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in PYTHON
        if str(path.relative_to(ROOT)) not in DECLARATIONS
        for node in _functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


def test_every_module_says_first_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PYTHON
        if (ROOT / "tests") not in path.parents
        and not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert not silent


def test_test_names_are_claims_of_several_words() -> None:
    short = [
        f"{path.name}: {node.name}"
        for path in PYTHON
        if path.name.startswith("test_")
        for node in _functions(path)
        if node.name.startswith("test_") and node.name.count("_") < 3
    ]
    assert not short


def test_no_test_evades_what_it_claims() -> None:
    assert not _lines_with(EVASIONS, [p for p in PYTHON if (ROOT / "tests") in p.parents])


def test_nothing_is_left_unfinished_in_the_text() -> None:
    assert not _lines_with(UNFINISHED, _tracked())


def test_nothing_names_a_machine_or_a_package_index() -> None:
    assert not _lines_with(MACHINE, _tracked())


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    shape = re.compile(
        r"[a-z0-9][a-z0-9._-]*(?:\[[a-z,]+\])?==[0-9][\w.]*(?: ; [^#]+)? \\"
        r"|    --hash=sha256:[0-9a-f]{64}(?: \\)?"
        r"|    # via(?: [\w.-]+(?: \(pyproject\.toml\))?)?"
        r"|    #   [\w.-]+(?: \(pyproject\.toml\))?"
    )
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert lines
    assert not [line for line in lines if not shape.fullmatch(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name) if name else page
        assert found.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {_anchor(heading) for heading in headings}, f"{target} has no heading"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_make_target_that_a_page_names_can_be_made() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for page in PAGES:
        named = re.findall(r"(?:`|^|\$ )make ([a-z]+)", page.read_text(), flags=re.M)
        assert set(named) <= made, page


def test_every_command_that_a_page_names_is_one_of_the_harness() -> None:
    for page in PAGES:
        named = re.findall(r"(?:`|^|\$ )harness ([a-z]+)", page.read_text(), flags=re.M)
        assert set(named) <= set(cli.commands), page


def test_every_decision_is_listed_in_their_index() -> None:
    decisions = ROOT / "docs" / "decisions"
    index = (decisions / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([\w.-]+\.md)\)", index))
    assert listed == {path.name for path in decisions.glob("*.md")} - {"README.md"}
