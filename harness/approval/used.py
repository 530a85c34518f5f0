"""The record of uses: which approved report began which cutover, so that none begins a second.

A file of JSON lines that is only ever appended to; each line holds the digest of the line before.
Who applies a migration writes it (`docs/approval.md` has the format); here it is only read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import BadInputError

__all__ = ["Use", "read_uses"]

_FIRST = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of an approved report: by which run, on which tree, when."""

    report: str
    report_nonce: str
    run: str
    tree: str
    at: str
    policy_version: int
    keys_version: int

    @property
    def time(self) -> datetime:
        """When the cutover was let through."""
        return datetime.fromisoformat(self.at)


def read_uses(path: Path) -> tuple[Use, ...]:
    """Return the uses in their order; none where the file is not there yet.

    BadInputError where a line cannot be read, or where lines were changed or taken out.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise BadInputError(
            f"the record of uses {path} cannot be read ({error.strerror}); name its file"
        ) from error
    uses: list[Use] = []
    previous = _FIRST
    for number, line in enumerate(content.splitlines(), start=1):
        entry = _entry(line)
        if entry is None:
            raise BadInputError(
                f"{path}:{number}: this is no use of a report; look who wrote it, for as long as"
                " the record cannot be read nothing can be told to be unused"
            )
        if entry["previous"] != previous:
            raise BadInputError(
                f"{path}:{number}: the line before was changed or taken out; put the record back"
                " from a copy, for nothing can be told to be unused"
            )
        uses.append(Use(**{name: entry[name] for name in Use.__dataclass_fields__}))
        previous = hashlib.sha256(line).hexdigest()
    return tuple(uses)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        texts = ("report", "report_nonce", "run", "tree", "at", "previous")
        numbers = ("policy_version", "keys_version")
        whole = all(isinstance(entry[name], str) for name in texts)
        whole = whole and all(type(entry[name]) is int for name in numbers)
        datetime.fromisoformat(entry["at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entry if whole else None
