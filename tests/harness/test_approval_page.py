"""docs/approval.md: its files can be read, and each of its commands says what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import approval_situations
import pytest
from approval_situations import SITUATIONS
from approved_reports import Office

from devflow import operator
from harness import approval, cli
from harness.approval import KeyRing, Policy

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "approval.md").read_text(encoding="utf-8")
BY = (
    "--policy policy.yaml --keys keys.yaml --before tree"
    " --candidate signed/candidate/candidate.yaml"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One command of the page: the situation it is in, and the lines shown below it."""

    command: str
    situation: str
    lines: tuple[str, ...]


def shown() -> Iterator[Shown]:
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL):
        for part in block.split("$ ")[1:]:
            head, *lines = part.splitlines()
            command, _, situation = head.partition("#")
            yield Shown(command.strip(), situation.strip(), tuple(lines))


SHOWN = list(shown())


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return approval_situations.make(tmp_path_factory.mktemp("page") / "office")


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command of the page and return all that it says."""
    if words[0] == "python":
        operator.main(words[3:])
    else:
        with pytest.raises(SystemExit):
            cli.main(words[1:])
    said = capsys.readouterr()
    return said.out + said.err


@pytest.mark.parametrize("one", SHOWN, ids=lambda one: f"{one.command[:6]} {one.situation}")
def test_each_command_of_the_page_says_what_stands_there(
    one: Shown,
    pristine: Office,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = pristine.copy_to(tmp_path / "office")
    SITUATIONS.get(one.situation, lambda _office: None)(office)
    monkeypatch.chdir(office.root)
    words = one.command.replace("$BY", BY).replace("/srv/devflow", "tree").split()
    said = told(words, capsys)
    assert one.lines
    for line in one.lines:
        pattern = re.escape(line).replace("…", r"\S+")
        assert re.search(f"^{pattern}", said, flags=re.MULTILINE), said


def test_every_situation_is_on_the_page() -> None:
    assert {one.situation for one in SHOWN if one.command.startswith("harness")} == set(SITUATIONS)


def test_every_rule_of_the_code_is_shown_by_a_command() -> None:
    sentences = re.compile(r'(?:cause = f?|yield _fault\(\s*"[\w-]+",\s*f?)"((?:[^"\\]|\\.)*)"')
    page = " ".join(PAGE.split())
    found, missing = 0, []
    for path in sorted(Path(approval.__file__).parent.glob("*.py")):
        for text in sentences.findall(path.read_text()):
            found += 1
            words = [part for part in re.split(r"\{[^}]*\}", text) if len(part.strip()) > 3]
            missing += [text for part in words if part.strip() not in page]
    assert found > 40
    assert not missing


@pytest.mark.parametrize(("number", "read"), [(0, Policy.load), (1, KeyRing.load)])
def test_the_files_of_the_page_can_be_read(tmp_path: Path, number: int, read: type[Policy]) -> None:
    block = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[number]
    path = tmp_path / "file.yaml"
    path.write_text(block)
    assert read(path)
