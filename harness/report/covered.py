"""What a signature on a report covers, in plain words: each bound thing and what it means.

Whoever approves a report signs exactly this. Things have the names that `bind` gives them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.model import DATABASES

__all__ = ["Said", "Thing", "commands", "meaning", "settings", "things"]

_OF = {
    "database": "logical content",
    "snapshot": "logical content",
    "file": "bytes",
    "tree": "files",
    "candidate": "files",
}
_SOURCES = {
    DATABASES["root"]: "The root database as it was: task hierarchy and CCR runner.",
    DATABASES["legacy"]: "The legacy database as it was, of the Database Manager.",
    DATABASES["vector"]: "The vector database as it was, of the Vector Memory Service.",
    "logs/model-registry.log": "The Model Registry's log as it was.",
}
_MEANINGS = {
    "before": "All sources together as they were: databases, log and configuration.",
    "after/devflow.sqlite": "The unified database that came out, and that was judged.",
    "candidate": "The migration: all files beside its manifest. Another one is not approved.",
    "mapping": "How each source row is found again in the unified database, as the migration says.",
    "policy": "The policy that the run was made with.",
    "harness": "The gate's own files: another build may judge otherwise.",
    "ledger": "The ledger's Merkle root: over what became of each source row.",
    "report.json": "The report itself, from which the page is made.",
}
_VERSIONS = {
    "harness": "The gate's version; the digest of its files is below.",
    "python": "Which Python ran it.",
    "sqlite": "Which SQLite read and compared the databases.",
    "apsw": "Through what Python spoke to SQLite.",
    "sqlite-vec": "What compared vectors within SQLite.",
    "deepdiff": "What told rows apart that differ.",
    "sqlglot": "What read the schemas' SQL.",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that is signed as it is told: its term, its value, and what it means."""

    term: str
    value: str
    means: str
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that is signed by its digest: `of` says what was digested."""

    name: str
    means: str
    of: str
    digest: str


def meaning(name: str) -> str:
    """Return what a bound thing is, in a sentence; nothing of a name that is not known."""
    run, _, bare = name.rpartition(":")
    if bare.startswith("before/"):
        said = _SOURCES.get(bare.removeprefix("before/"), "A source as it was.")
    elif bare.startswith("after/"):
        said = _MEANINGS.get(bare, "A database that came out, and that was judged.")
    elif bare.startswith("scenario/"):
        said = "The scenario's file: what was built, broken and expected."
    else:
        said = _MEANINGS.get(bare, "")
    return f"{said[:-1]}, in the scenario {run}." if run and said else said


def things(document: Mapping[str, Any]) -> list[Thing]:
    """Return what is bound by its digest: the report's subjects, and the root of each ledger."""
    made = [
        Thing(one["name"], meaning(one["name"]), _OF[one["method"]], one["digest"])
        for one in document["subjects"]
    ]
    ledgers = [(run["name"], run["ledger"]["root"]) for run in document["runs"] if run["ledger"]]
    for run, root in ledgers:
        name = "ledger" if len(document["runs"]) == 1 else f"{run}:ledger"
        made.append(Thing(name, meaning(name), "entries", root))
    return made


def settings(document: Mapping[str, Any]) -> Iterator[Said]:
    """Yield what is signed in words and figures, in the order in which it is asked for."""
    checks = len(document["checks"])
    yield Said(
        "Verdict",
        f"{document['verdict']}, by {checks} {'check' if checks == 1 else 'checks'}",
        "The verdict of each check, what it examined, and what it says that it does not verify.",
    )
    yield Said(
        "Candidate",
        document["candidate"] or "not named",
        "The migration that was tried, by its name; the digest of its files is below.",
    )
    yield Said("Started", document["started_at"], "When the run began.")
    yield Said("Finished", document["finished_at"], "From here on a policy reckons its age.")
    yield Said(
        "Expires",
        document["expires_at"] or "not by itself",
        "After this it is refused; where it names no end, the policy's greatest age is one.",
    )
    git = document["git"]
    yield Said(
        "Commit",
        git["commit"] if git else "not from a git checkout",
        {
            True: "A clean checkout: what ran is what was committed.",
            False: "With changes that are not committed: what ran is in no commit.",
            None: "No commit says what ran; the digests below do.",
        }[git["clean"] if git else None],
        is_code=bool(git),
    )
    for name, version in document["versions"].items():
        yield Said(name, version, _VERSIONS.get(name, ""))
    for name, seed in document["seeds"].items():
        yield Said(f"Seed, {name}", str(seed), "With it the same is drawn again.")
    if mutants := document["mutants"]:
        told = f"{mutants['caught']} of {mutants['tried']} caught"
        yield Said("Mutants", told, "Migrations broken on purpose, and how many were noticed.")
    if points := document["crash_points"]:
        told = f"{points['converged']} of {points['tried']} converged"
        yield Said(
            "Crash points", told, "Where the migration was killed, and came to the same end."
        )
    yield from _of_the_signature(document)


def _of_the_signature(document: Mapping[str, Any]) -> Iterator[Said]:
    if vouching := document["vouching"]:
        whose = (
            "A throw-away key: it shows that nothing was changed, and not who signed."
            if vouching["throwaway"]
            else "Whose key signs; compare it with the one that you know."
        )
        yield Said("Key", vouching["key_id"], whose, is_code=True)
    if document["nonce"]:
        means = "Drawn for this report alone: approvals name it, and it begins one cutover only."
        yield Said("Nonce", document["nonce"], means, is_code=True)
    if document["counter"] is not None:
        yield Said("Counter", str(document["counter"]), "How many reports the gate made before.")
    yield Said(
        "Report's files",
        "this page too",
        "The SHA-256 of each of the report's files, and the evidence root over them and over the"
        " ledgers' roots. They stand in attestation.json alone: no page can hold its own digest.",
    )


def commands(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what can be done with this very report, and the command for each.

    They are for the report's folder. Words in capitals stand for what the report cannot know.
    """
    kind = document["kind"]
    made = [("See that nothing was changed, and whose key signed", "harness verify . --key PUBLIC")]
    by = "--policy POLICY --keys KEYS"
    who = "--key YOUR_KEY --role ROLE --reason 'WHY'"
    if kind == "gate":
        rest = f"{by} --before ROOT --candidate CANDIDATE --gate ."
        made.append(("Judge a rehearsal with it beside", f"harness verify REHEARSAL {rest}"))
        made.append(
            ("Approve a rehearsal with it beside", f"harness approve REHEARSAL {who} {rest}")
        )
    elif any(subject["name"].startswith("before/") for subject in document["subjects"]):
        root = shlex.quote(_source(document)) if _source(document) else "ROOT"
        rest = f"{by} --before {root} --candidate CANDIDATE"
        made.append(("Judge it by your policy, with who has approved", f"harness verify . {rest}"))
        made.append(("Approve it", f"harness approve . {who} {rest}"))
    return made


def _source(document: Mapping[str, Any]) -> str:
    """Return the tree that the only run was made on, from the line that runs it again."""
    runs = document["runs"]
    try:
        words = shlex.split(runs[0]["replay"] or "") if len(runs) == 1 else []
    except ValueError:  # a line that no shell can read names no tree
        return ""
    for option in ("--source", "--before"):
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""
