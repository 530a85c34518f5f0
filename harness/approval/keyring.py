"""The key file: who may sign as what, from when until when, and which keys were revoked."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema

from harness.errors import BadInputError
from harness.keys import PublicKey, public_from_pem
from harness.yaml_file import YamlFile

__all__ = ["KeyRing", "Signer", "same_person"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """One key: whose it is, what it may sign as, and when; all times are in UTC."""

    key: PublicKey
    owner: str
    roles: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime | None = None
    revoked_at: datetime | None = None
    revoked_because: str = ""

    def objection(self, role: str, at: datetime) -> tuple[str, str] | None:
        """Return why the key may not have signed as `role` at that time: a slug and words.

        A revoked key signs nothing, whatever time it names: who stole it names one that suits.
        """
        whose = f"the key of {self.owner}"
        if self.revoked_at is not None:
            why = self.revoked_because.rstrip(".")
            return "revoked", f"{whose} was revoked at {_said(self.revoked_at)} ({why})"
        if role not in self.roles:
            return "role", f"{whose} may sign as {' and '.join(self.roles)}, not as {role}"
        if at < self.valid_from:
            return "not-yet", f"{whose} is valid only from {_said(self.valid_from)}"
        if self.valid_until is not None and at >= self.valid_until:
            return "retired", f"{whose} was retired at {_said(self.valid_until)}, before it signed"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """All keys of one key file."""

    path: Path
    version: int
    signers: tuple[Signer, ...]

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key file; BadInputError with file, line and a suggestion."""
        file = YamlFile(path, what="key file", way_out="name a key file")
        data = file.checked(_validator(), manual="docs/approval.md")
        signers: list[Signer] = []
        for place, entry in enumerate(data["keys"]):
            signer = _signer(file, ("keys", place), entry)
            for other in signers:
                if other.key.keyid == signer.key.keyid:
                    text = f"the key of {signer.owner} is the key of {other.owner} too"
                    raise file.wrong(("keys", place), f"{text}; each key stands once")
            signers.append(signer)
        return cls(path=path, version=data["version"], signers=tuple(signers))

    def of_role(self, role: str) -> Iterator[Signer]:
        """Yield those who may ever have signed as `role`, revoked and retired ones included."""
        return (signer for signer in self.signers if role in signer.roles)

    def by_id(self, key_id: str) -> Signer | None:
        """Return whose key has this id, None where nobody's has."""
        return next((one for one in self.signers if one.key.keyid == key_id), None)


def same_person(one: str, other: str) -> bool:
    """Say whether two owners are the same, whatever their capitals and spaces."""
    return one.casefold().split() == other.casefold().split()


def _signer(file: YamlFile, where: tuple[Any, ...], entry: dict[str, Any]) -> Signer:
    times: dict[str, datetime] = {}
    for name in ("valid_from", "valid_until", "revoked_at"):
        if name in entry:
            try:
                times[name] = datetime.fromisoformat(entry[name])
            except ValueError as error:
                text = f"{entry[name]!r} is not possible in `{name}`: {error}"
                raise file.wrong(where, text, key=name) from error
    if "valid_until" in times and times["valid_until"] <= times["valid_from"]:
        raise file.wrong(where, "`valid_until` comes before `valid_from`", key="valid_until")
    try:
        key = public_from_pem(entry["public"].encode(), name="this")
    except BadInputError as error:
        raise file.wrong(where, str(error), key="public") from error
    return Signer(
        key=key,
        owner=" ".join(entry["owner"].split()),
        roles=tuple(entry["roles"]),
        revoked_because=entry.get("revoked_because", ""),
        **times,
    )


def _said(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    file = Path(__file__).parent / "keys.schema.json"
    return jsonschema.Draft202012Validator(json.loads(file.read_bytes()))
