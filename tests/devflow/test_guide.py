"""docs/release-managers.md: each command on it is run, in order, and says what stands there.

It also has its pictures: each is there, small enough, told in words, and made from a page.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import apsw
import httpx
import yaml
from approved_tree import POLICY
from browser import chromium
from devflow_tree import REPOSITORY, LegacyTree
from live_stage import Fronted, fronted, start

from harness import keys

PAGE = (REPOSITORY / "docs" / "release-managers.md").read_text(encoding="utf-8")
CANDIDATE = REPOSITORY / "devflow" / "candidate.yaml"
PEOPLE = {
    "gate": ("Continuous integration", "gate"),
    "ann": ("Ann Archer", "release-manager"),
    "bob": ("Bob Baker", "release-manager"),
}
PICTURE_BYTES_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Shown:
    """One command of the page, what was done before it, and the lines shown below it."""

    command: str
    situation: str
    lines: tuple[str, ...]


def shown(block: str) -> Iterator[Shown]:
    for part in block.split("$ ")[1:]:
        head, *lines = part.splitlines()
        command, _, situation = head.partition("   # ")
        yield Shown(command.strip(), situation.strip(), tuple(line for line in lines if line))


BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
STORY = [one for block in BLOCKS if "$LIVE" not in block for one in shown(block)]
LIVE = [one for block in BLOCKS if "$LIVE" in block for one in shown(block)]


class Office:
    """A folder in which somebody works through the page: the tree, keys, key file and policy."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = root / "devflow"
        self.live = ""
        entries = []
        for person, (owner, role) in PEOPLE.items():
            keys.generate(root / person)
            public = (root / person / keys.PUBLIC_NAME).read_text()
            entries.append(
                {"owner": owner, "roles": [role], "public": public,
                 "valid_from": "2020-01-01T00:00:00Z"}
            )  # fmt: skip
        (root / "keys.yaml").write_text(yaml.safe_dump({"version": 1, "keys": entries}))
        (root / "policy.yaml").write_text(yaml.safe_dump(POLICY))

    def run(self, command: str) -> str:
        """Run a command of the page; return everything that it said."""
        told = command.replace("/srv/devflow", str(self.tree)).replace("$LIVE", self.live)
        told = re.sub(r"(?<=--candidate )candidate\.yaml", str(CANDIDATE), told)
        words = shlex.split(told)
        head = ["-m", "harness"] if words[0] == "harness" else words[1:3]
        rest = words[1:] if words[0] == "harness" else words[3:]
        done = subprocess.run(
            [sys.executable, *head, *rest],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return (done.stdout + done.stderr).replace(str(self.tree), "/srv/devflow")

    def play(self, one: Shown, before: Callable[[Office], object] | None = None) -> None:
        """Do what comes before, run the command, and find each of its lines, in their order."""
        if before is not None:
            before(self)
        said = self.run(one.command)
        assert one.lines, one.command
        at = 0
        for line in one.lines:
            pattern = re.escape(line).replace("…", ".*")
            found = re.compile(f"^{pattern}", re.MULTILINE).search(said, at)
            assert found, (line, said)
            at = found.end()

    def write(self, name: str) -> None:
        """Write a task into the root, as a service would."""
        with apsw.Connection(str(self.tree / "devflow.sqlite")) as root:
            root.execute(
                "INSERT INTO task_contexts (id, title, description) VALUES (?, ?, '')", (name, name)
            )

    def approve(self) -> None:
        for one in STORY:
            if one.command.startswith("harness approve"):
                command = one.command.replace("--before /srv/devflow ", "")
                assert "approved: " in self.run(command)

    def cut_over_again(self) -> None:
        """Rehearse anew, have it approved, and migrate once more, by the page's own commands."""
        shutil.rmtree(self.root / "rehearsal")
        by = {one.command.split(" --")[0]: one.command for one in reversed(STORY)}
        assert "valid: " in self.run(by["harness rehearse"])
        self.approve()
        apply = next(one.command for one in STORY if "--until validate --approval" in one.command)
        assert "validate is done" in self.run(apply)


def another_cutover_and_a_task(office: Office) -> None:
    office.cut_over_again()
    office.write("written-later")


SITUATIONS: dict[str, Callable[[Office], object] | None] = {
    "": None,
    "after a task was written": lambda office: office.write("written-since"),
    "after another cutover and a task": another_cutover_and_a_task,
    "nothing is approved": None,
    "the report was used": None,
    "somebody wrote since": lambda office: office.write("written-before"),
}


def test_each_command_of_the_guide_says_what_stands_there(tmp_path: Path) -> None:
    """The whole story on one real-like tree: there, back with the writes, there, back without."""
    office = Office(tmp_path)
    office.run("harness build real-like --out devflow")
    for one in STORY:
        office.play(one, SITUATIONS[one.situation])
    assert {one.situation for one in STORY} == set(SITUATIONS)


def remember(found: dict[str, Fronted], key: str) -> None:
    body = {"id": key, "content": f"text of {key}", "type": "note"}
    url = found["database-manager"].url
    assert httpx.post(url + "/memory", json=body, timeout=30).status_code == 201


def test_the_live_commands_of_the_guide_say_what_stands_there(tmp_path: Path) -> None:
    office = Office(tmp_path)
    tree = LegacyTree.make(office.tree)
    with fronted(tree, tmp_path, successors=False) as found:
        office.live = " ".join(f"--live {name}={one.gate.port}" for name, one in found.items())
        remember(found, "first")

        def serve(office: Office) -> None:
            remember(found, "second")
            office.approve()
            start([one.unified for one in found.values()])

        before = {
            "": None,
            "approved, and the unified services serve": serve,
            "services were used meanwhile": lambda _office: remember(found, "third"),
        }
        for one in LIVE:
            office.play(one, before[one.situation])
        url = found["database-manager"].url
        for key in ("first", "second", "third"):
            told = httpx.get(f"{url}/memory/{key}", timeout=30).json()
            assert told["content"] == f"text of {key}"


# The pictures ------------------------------------------------------------------------------------


def make() -> ModuleType:
    """The script that makes the pictures."""
    path = REPOSITORY / "docs" / "pictures" / "make.py"
    spec = importlib.util.spec_from_file_location("pictures_make", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_each_picture_is_there_is_small_and_is_told_in_words() -> None:
    images = re.findall(r"!\[(.*?)\]\(pictures/([\w-]+\.png)\)", PAGE)
    assert [file for _, file in images] == [
        picture.file for picture in sorted(make().PICTURES, key=lambda one: PAGE.index(one.file))
    ]
    for words, file in images:
        picture = REPOSITORY / "docs" / "pictures" / file
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < PICTURE_BYTES_MAX
        assert len(words.split()) > 12


def test_the_pictures_can_be_made_again_from_pages_of_today(tmp_path: Path) -> None:
    """The parts that they show are still on a page, of a rehearsal and of a run under load."""
    with chromium() as browser:
        if browser is None:
            return
        office = Office(tmp_path)
        office.run("harness build real-like --out devflow")
        office.run("harness rehearse --source devflow --out rehearsal --key gate/gate-key.pem")
        office.approve()
        module = make()
        pictures = [one for one in module.PICTURES if one.report == "rehearsal"]
        made = module.take(browser, {"rehearsal": tmp_path / "rehearsal"}, tmp_path)
        assert [path.name for path in made] == [one.file for one in pictures]
        for path in made:
            assert 10_000 < path.stat().st_size < PICTURE_BYTES_MAX
