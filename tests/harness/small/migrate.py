"""A whole candidate in little: it moves the table `notes` of legacy into root.

What it does wrong, on demand, is named by the environment variable FAULT.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

PHASES = ("backup", "shadow", "cutover", "validate", "cleanup")
STEPS = {
    "backup": ["copy"],
    "shadow": ["build", "check"],
    "cutover": ["swap"],
    "validate": ["count"],
    "cleanup": ["drop-data"],
}
FAULT = os.environ.get("FAULT", "")


class RefusalError(Exception):
    pass


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Migration:
    def __init__(self, asked: dict) -> None:
        self.tree = Path(asked["tree"])
        self.until = asked["until"]
        self.lockstep = asked["lockstep"]
        self.root = self.tree / asked["paths"]["root"]
        self.legacy = self.tree / asked["paths"]["legacy"]
        self.home = self.tree / ".small"
        self.shadow = self.home / "shadow.sqlite"
        self.journal = self.home / "journal.json"
        self.going_back = self.home / "going-back"
        self.kept = self.tree / "backups" / "before"

    def done(self) -> list[str]:
        return json.loads(self.journal.read_text()) if self.journal.exists() else []

    def note(self, steps: list[str]) -> None:
        self.home.mkdir(exist_ok=True)
        new = self.journal.with_suffix(".new")
        new.write_text(json.dumps(steps))
        new.replace(self.journal)

    def pause(self, event: str, phase: str, step: str, **more: object) -> None:
        say(event=event, phase=phase, step=step, **more)
        if self.lockstep:
            sys.stdin.readline()

    def state(self) -> str:
        done = self.done()
        state = "none"
        if self.going_back.exists():
            return state
        for phase in PHASES:
            if all(f"{phase}/{step}" in done for step in STEPS[phase]):
                state = phase
        return state

    def plan(self) -> None:
        for phase in PHASES:
            for step in STEPS[phase][FAULT == "forgetful-plan" :]:
                say(event="planned", phase=phase, step=step)
        say(event="done", state=self.state())

    def status(self) -> None:
        say(event="done", state="cutover" if FAULT == "status" else self.state())

    def apply(self) -> None:
        if not self.root.exists():
            raise RefusalError("there is no root database")
        if self.going_back.exists():
            self.restore()
            self.forget()
        if FAULT == "false-refusal":
            self.build()
            self.swap()
            raise RefusalError("I touched nothing")
        for phase in PHASES[: PHASES.index(self.until) + 1]:
            say(event="phase_started", phase=phase)
            for step in STEPS[phase]:
                name = f"{phase}/{step}"
                self.pause("step_started", phase, step)
                skipped = name in self.done()
                if not skipped:
                    getattr(self, step.replace("-", "_"))()
                    self.note([*self.done(), name])
                self.pause("step_done", phase, step, skipped=skipped)
            say(event="phase_done", phase=phase)
        say(event="done", state=self.state())

    def rollback(self) -> None:
        for step in ("restore", "forget"):
            self.pause("step_started", "rollback", step)
            getattr(self, step)()
            self.pause("step_done", "rollback", step)
        say(event="done", state="none")

    def copy(self) -> None:
        for name in ("devflow.sqlite", "data/devflow.sqlite"):
            if (self.tree / name).exists():
                (self.kept / name).parent.mkdir(parents=True, exist_ok=True)
                copy_database(self.tree / name, self.kept / name)

    def build(self) -> None:
        self.home.mkdir(exist_ok=True)
        self.shadow.unlink(missing_ok=True)
        copy_database(self.root, self.shadow)
        with sqlite3.connect(self.shadow) as db:
            db.execute("CREATE TABLE legacy_notes (id TEXT, text TEXT)")
            if self.legacy.exists():
                db.execute("ATTACH ? AS old", (str(self.legacy),))
                db.execute("INSERT INTO legacy_notes SELECT id, text FROM old.notes")
            if FAULT == "drop-row" or (FAULT == "drop-row-on-resume" and not self.lockstep):
                db.execute("DELETE FROM legacy_notes WHERE rowid = 1")

    def check(self) -> None:
        if FAULT == "slow":
            time.sleep(60)

    def swap(self) -> None:
        died = self.tree.parent / "died"
        if FAULT == "die" or (FAULT == "die-once" and not died.exists()):
            died.touch()
            os.abort()
        copy_database(self.shadow, self.root)
        if FAULT == "no-unified":
            self.root.unlink()

    def count(self) -> None:
        pass

    def drop_data(self) -> None:
        shutil.rmtree(self.tree / "data", ignore_errors=True)

    def restore(self) -> None:
        if not self.going_back.exists():
            started = bool(self.done())
            self.home.mkdir(exist_ok=True)
            self.going_back.write_text("restore" if started else "nothing")
        for name in ("devflow.sqlite", "data/devflow.sqlite"):
            if self.going_back.read_text() == "restore" and (self.kept / name).exists():
                (self.tree / name).parent.mkdir(exist_ok=True)
                copy_database(self.kept / name, self.tree / name)
        if FAULT == "bad-rollback":
            with sqlite3.connect(self.root) as db:
                db.execute("CREATE TABLE left_over (x)")

    def forget(self) -> None:
        self.journal.unlink(missing_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)


def copy_database(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


def serve_one(line: str, op: str | None = None) -> int:
    asked = json.loads(line)
    op = op or asked["op"]
    if FAULT == "not-json":
        sys.stdout.write("hello\n")
    if FAULT == "silent":
        sys.stderr.write("I know nothing\n")
        return 0
    if FAULT == "exit-code":
        say(event="done", state="none")
        return 7
    if FAULT == "odd-state":
        say(event="done", state="somewhere")
        return 0
    if FAULT in ("odd-error", "soft-error"):
        say(
            event="error",
            code="x",
            text="who knows",
            **({"definite": False} if FAULT == "soft-error" else {}),
        )
        return 1
    try:
        getattr(Migration(asked), op)()
    except RefusalError as refusal:
        say(event="error", code="refused", definite=True, text=str(refusal))
        return 1
    if FAULT == "stays":
        time.sleep(60)
    if FAULT == "talkative":
        say(event="phase_done", phase="backup")
    return 0


def main() -> int:
    if sys.argv[1] == "serve":
        for line in sys.stdin:
            if FAULT == "die-serving" and json.loads(line)["op"] == "apply":
                os.abort()
            serve_one(line)
        return 0
    return serve_one(sys.stdin.readline(), sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
