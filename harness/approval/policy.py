"""A policy: what a report must show, and how many persons must approve it in which role."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jsonschema

from harness.attest import PREDICATE_TYPE
from harness.yaml_file import YamlFile

__all__ = ["APPROVAL_TYPE", "GateDemand", "Policy", "ReportDemand"]

APPROVAL_TYPE = "urn:devflow-migration-gate:approval:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDemand:
    """What the report on the databases must be; `checkers` maps to the least examined."""

    signed_by: str
    age_hours_max: float
    checkers: Mapping[str, int]
    types: tuple[str, ...] = (PREDICATE_TYPE,)
    kinds: tuple[str, ...] = ("rehearsal",)
    profiles: tuple[str, ...] = ("quick", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDemand:
    """What the gate's report on the same candidate must be; no mutants demanded is tried_min 0."""

    age_hours_max: float
    scenarios: tuple[str, ...] = ()
    tried_min: int = 0
    rate_min: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy file. `digest` is the SHA-256 of its bytes; `required` counts persons by role."""

    path: Path
    digest: str
    version: int
    report: ReportDemand
    gate: GateDemand | None
    required: Mapping[str, int]
    age_hours_max: float
    types: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy; BadInputError with file, line and a suggestion."""
        file = YamlFile(path, what="policy", way_out="name a policy's file")
        data = file.checked(_validator(), manual="docs/approval.md")
        report, approvals = data["report"], data["approvals"]
        lists = {key: tuple(report[key]) for key in ("types", "kinds", "profiles") if key in report}
        return cls(
            path=path,
            digest=hashlib.sha256(file.content).hexdigest(),
            version=data["version"],
            report=ReportDemand(
                signed_by=report["signed_by"],
                age_hours_max=report["age_hours_max"],
                checkers={name: said["examined_min"] for name, said in report["checkers"].items()},
                **lists,
            ),
            gate=_gate(data["gate"]) if "gate" in data else None,
            required=approvals["required"],
            age_hours_max=approvals["age_hours_max"],
            types=tuple(approvals.get("types", (APPROVAL_TYPE,))),
        )


def _gate(data: Mapping[str, object]) -> GateDemand:
    flat: dict[str, object] = {key: data[key] for key in data if key != "mutants"}
    flat["scenarios"] = tuple(flat.get("scenarios", ()))  # type: ignore[arg-type]
    mutants = data.get("mutants", {})
    return GateDemand(**flat, **mutants)  # type: ignore[arg-type]


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    file = Path(__file__).parent / "policy.schema.json"
    return jsonschema.Draft202012Validator(json.loads(file.read_bytes()))
