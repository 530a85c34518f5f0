"""The examples of devflow/README.md: which there are, how they are run and compared.

Each ```sh block is a part of one bash script, so that a variable of one block is known in the
next. Of a ```json block that follows one, each key must be in the last JSON that the block
printed, with an equal value: objects may hold more keys, lists may not hold more items; `…` stands
for any value, within a text for any part of it, and as the last item of a list for any others.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "devflow" / "README.md"
ANYTHING = "…"
_TIMEOUT_S = 120
_HEADING = re.compile(r"^## (.+)$", flags=re.M)
_PORT = re.compile(r"^(.+) \((\d+)\)$")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)


@dataclass(frozen=True, slots=True)
class Example:
    """One block of commands, and the JSON that is shown for its answer, if any."""

    script: str
    shown: str | None


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says of one service."""

    title: str
    port: int
    examples: tuple[Example, ...]


def sections(page: str) -> list[Section]:
    """Return the sections whose heading names a port, in their order."""
    parts = _HEADING.split(page)
    found = []
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if named := _PORT.match(heading):
            found.append(Section(named[1], int(named[2]), tuple(_examples(body))))
    return found


def _examples(body: str) -> list[Example]:
    blocks = [(kind, text) for kind, text in _BLOCK.findall(body) if kind in ("sh", "json")]
    found = []
    for place, (kind, script) in enumerate(blocks):
        if kind == "sh":
            following = blocks[place + 1] if place + 1 < len(blocks) else ("", "")
            found.append(Example(script, following[1] if following[0] == "json" else None))
    return found


def run(examples: tuple[Example, ...], ports: Mapping[int, int], folder: Path) -> list[str]:
    """Run the blocks in order, each port replaced by another; return what each printed.

    curl is told by its configuration file that a refusal is a failure (`--fail-with-body`), so
    that the blocks themselves stay as they are written.
    """
    mark = "=== the next block ==="
    script = f"\nprintf '%s' '{mark}'\n".join(example.script for example in examples)
    for old, new in ports.items():
        script = script.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 60\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "CURL_HOME": str(folder), "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    printed = done.stdout.split(mark)
    if done.returncode:
        failed = examples[len(printed) - 1].script
        raise AssertionError(f"{failed}printed {printed[-1]}\nand {done.stderr}")
    return printed


def last_json(printed: str) -> Any:
    """Return the last of the JSON values that were printed one after the other."""
    decoder, rest, found = json.JSONDecoder(), printed.lstrip(), None
    while rest:
        found, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
    return found


def differences(shown: str, printed: str) -> list[str]:
    """Return where an answer is not as it is shown."""
    quoted = re.sub(r",\s*…\s*}", "}", shown)
    quoted = re.sub(r"(?<![\w\"…])…(?![\w\"…])(?=\s*[,\]}]|\s*$)", f'"{ANYTHING}"', quoted)
    return list(_differ(json.loads(quoted), last_json(printed), "$"))


def _differ(shown: Any, found: Any, place: str) -> list[str]:
    if shown == ANYTHING:
        return []
    if isinstance(shown, str) and ANYTHING in shown and isinstance(found, str):
        pattern = ".*".join(re.escape(part) for part in shown.split(ANYTHING))
        return [] if re.fullmatch(pattern, found, flags=re.S) else [f"{place}: {found!r}"]
    if isinstance(shown, dict) and isinstance(found, dict):
        return [
            line
            for key, value in shown.items()
            for line in (
                _differ(value, found[key], f"{place}.{key}")
                if key in found
                else [f"{place}.{key}: not there"]
            )
        ]
    if isinstance(shown, list) and isinstance(found, list):
        return _lists_differ(shown, found, place)
    same = shown == found and isinstance(shown, bool) == isinstance(found, bool)
    return [] if same else [f"{place}: {found!r}, not {shown!r}"]


def _lists_differ(shown: list[Any], found: list[Any], place: str) -> list[str]:
    rest = bool(shown) and shown[-1] == ANYTHING
    items = shown[:-1] if rest else shown
    if len(found) < len(items) or (len(found) > len(items) and not rest):
        return [f"{place}: {len(found)} items, not {len(items)}"]
    return [
        line
        for number, (one, other) in enumerate(zip(items, found, strict=False))
        for line in _differ(one, other, f"{place}[{number}]")
    ]
