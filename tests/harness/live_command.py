"""A live migration's command in little: steps, a journal, and on demand what it must not do."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

STEPS = (("shadow", "shadow.put"), ("cutover", "cutover.notes"), ("validate", "validate.all"))
PHASES = ("none", "backup", "shadow", "cutover", "validate", "cleanup")
FAULT = os.environ.get("FAULT", "")


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> int:
    asked, op = json.loads(sys.stdin.readline()), sys.argv[1]
    journal = Path(asked["tree"]) / "journal"
    done = journal.read_text().split() if journal.exists() else []
    state = max([phase for phase, step in STEPS if step in done] or ["none"], key=PHASES.index)
    if op == "status":
        say(event="done", state="cleanup" if FAULT == "status" else state)
        return 0
    if op == "plan":
        for phase, step in STEPS:
            say(event="planned", phase=phase, step=step)
        if FAULT == "plan":
            say(event="planned", phase="cutover", step="cutover.nowhere")
        say(event="done", state=state)
        return 0
    if FAULT == "never-again" and (journal.parent / "begun").exists():
        say(event="error", code="begun", definite=False, text="somebody began this")
        return 3
    (journal.parent / "begun").touch()
    last = PHASES.index(asked["until"])
    for phase, step in (each for each in STEPS if PHASES.index(each[0]) <= last):
        say(event="step_started", phase=phase, step=step)
        began = time.time()
        sys.stdin.readline()
        time.sleep(0.2 if FAULT == "clock" and step == "cutover.notes" else 0)
        if FAULT == "clock" and time.time() < began:
            say(event="error", code="late", definite=False, text="it is earlier than before")
            return 3
        skipped = step in done
        if not skipped:
            done.append(step)
            journal.write_text(" ".join(done))
        say(event="step_done", phase=phase, step=step, **({"skipped": True} if skipped else {}))
        sys.stdin.readline()
    say(event="done", state=asked["until"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
