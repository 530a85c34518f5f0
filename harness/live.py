"""A live migration, the whole story on one page: clients write while it goes there, and back.

The legacy stand-ins serve a copy of the fixture, a gate of the candidate's stands in front of each,
and a load goes through the gates. Meanwhile the candidate copies, cuts over, validates, and goes
back with every write. What the clients were told is compared with what the databases hold.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from harness.candidate import Candidate, Event, Outcome
from harness.candidate_services import Service, stand_ins
from harness.checkers import downtime, history, reckoned
from harness.checkers.evidence import Evidence
from harness.checkers.holdings import (
    Holding,
    Shape,
    forget_load,
    holding,
    without_vector,
)
from harness.errors import BadInputError, EnvironmentFaultError
from harness.fixture.folder import fixtures_folder
from harness.harmed import Harmed
from harness.history import History
from harness.judge import Judge, checks_of_live, joined
from harness.load import Load
from harness.mapping import Mapping as Declared
from harness.model import DATABASES, CheckResult, Finding, Verdict
from harness.nemeses.clock import own_clocks
from harness.nemeses.meanwhile import FAULT, MENDED, MIGRATION, Place, small_disk
from harness.progress import Tell, nobody
from harness.providers import Providers, providers
from harness.run import RunResult
from harness.scenario import LiveLoad
from harness.services import Running, ServiceError, free_port
from harness.snapshot import REGISTRY_LOG, Snapshot
from harness.stage import fresh, lay, take
from harness.straight import ROOT, Straight

__all__ = ["migrate_live"]

_UNSEEN = "Nothing: no gate could stand in front of the services."
_UNASKED_S = "86400"
_WARM = 50
_WAIT_S = 60.0
_SHAPES = {"legacy": Shape.LEGACY, "vector": Shape.VECTOR}
_PLACES = {"database-manager": "legacy", "vector-memory": "vector"}
# While one of these is made, those who write past the gates hurry.
_AT_STAKE = ("backup.", "shadow.follow", "shadow.put", "cutover.", "rollback.")


def migrate_live(
    fixture: Path,
    candidate: Candidate,
    out: Path,
    *,
    live: LiveLoad,
    seed: int = 1,
    tell: Tell = nobody,
    replay: str | None = None,
) -> RunResult:
    """Migrate a copy of `fixture` there and back under load, in `out`, which is made anew.

    BadInputError where the candidate declares no such gate, or serves nothing that was there
    before. Where this machine lacks what the gate needs, nothing is examined.
    """
    began = time.monotonic()
    judge = Judge(checks_of_live(live), tell, replay)
    fresh(out).mkdir()
    way = candidate.behind(live.gate)
    if (lack := way.lack) is not None:
        for name in sorted(judge.wanted):
            judge.add(CheckResult.lacking(name, lack, verifies=_UNSEEN, does_not_verify=_UNSEEN))
    else:
        with ExitStack() as stack:
            story = _Story(
                fixture, replace(candidate, live=way), out, live=live, seed=seed, judge=judge,
                stack=stack,
            )  # fmt: skip
            story.play()
        judge.add(judge.speech())
    return RunResult(
        name=out.name,
        out=out,
        results=judge.in_order(),
        steps=tuple(judge.steps),
        seed=seed,
        replay=replay,
        elapsed_s=time.monotonic() - began,
    )


class _Story:
    """One live migration while it is played; all that runs ends with `stack`."""

    def __init__(
        self,
        fixture: Path,
        candidate: Candidate,
        out: Path,
        *,
        live: LiveLoad,
        seed: int,
        judge: Judge,
        stack: ExitStack,
    ) -> None:
        self.out, self.live, self.judge, self.stack = out, live, judge, stack
        self.before = Snapshot.of(lay(fixture, out / "before"))
        harms, disk = {fault.harm for fault in live.faults}, None
        if "fill" in harms:
            disk = stack.enter_context(small_disk(out / "disk"))
        self.clocks = own_clocks(out / "clocks") if "set-clock" in harms else None
        given = {**candidate.environment, **self._clock(MIGRATION)}
        self.candidate = replace(candidate, environment=given)
        self.tree = lay(fixture, (disk or out) / "tree")
        self.seen: Providers = stack.enter_context(providers())
        self.legacy = {
            service.name: self._process(replace(service, directory=self.tree))
            for service in stand_ins(fixtures_folder() / "services")
        }
        self.unified = self._successors()
        self.control = {name: free_port() for name in self.legacy}
        self.gates = {name: self._gate(name) for name in self.legacy}
        self.load = Load(
            {name: gate.url for name, gate in self.gates.items()},
            log=out / "history.jsonl",
            seed=seed,
            connections=live.connections,
            rate=live.rate,
        )
        self.straight = Straight(
            self.tree,
            log=out / "straight.jsonl",
            seed=seed,
            idle=not live.straight,
        )
        self.histories: list[CheckResult] = []
        self.held: set[str] = set()
        self.locked_ms: list[float] = []
        self.harmed = self._harmed(disk, seed) if live.faults else None

    def _harmed(self, disk: Path | None, seed: int) -> Harmed:
        place = Place(
            gate=self.gates,
            legacy=self.legacy,
            unified=self.unified,
            tree=self.tree,
            disk=disk,
            clocks=self.clocks,
        )
        return Harmed(
            self.candidate,
            place,
            faults=self.live.faults,
            gates=self.control,
            seed=seed,
            judge=self.judge,
        )

    def _clock(self, name: str) -> dict[str, str]:
        return {} if self.clocks is None else self.clocks.environment(name)

    def _process(self, service: Service, **environment: str) -> Running:
        running = Running(
            service,
            environment={**self.seen.environment, **environment, **self._clock(service.name)},
            log=self.out / "logs" / f"{service.name}.log",
        )
        self.stack.callback(running.stop)
        return running

    def _successors(self) -> dict[str, Running]:
        assert self.candidate.live is not None  # noqa: S101 - migrate_live saw to it
        found = {
            service.replaces: self._process(
                replace(service, name=f"unified-{service.name}"),
                DEVFLOW_DB_PATH=str((self.tree / DATABASES["root"]).resolve()),
                DEVFLOW_HEALTH_INTERVAL_S=_UNASKED_S,
                DEVFLOW_LEARN_INTERVAL_S=_UNASKED_S,
                DEVFLOW_SEED="1",
                **self.candidate.live.environment,
            )
            for service in self.candidate.services
            if service.replaces is not None
        }
        if missing := sorted(set(self.legacy) - set(found)):
            raise BadInputError(
                f"{self.candidate.manifest} has no service that replaces {missing[0]}"
            )
        return {name: found[name] for name in self.legacy}

    def _gate(self, name: str) -> Running:
        assert self.candidate.live is not None  # noqa: S101 - migrate_live saw to it
        gate = self.candidate.live.in_front_of(
            name,
            control=str(self.control[name]),
            legacy=self.legacy[name].url,
            unified=self.unified[name].url,
            tree=str(self.tree.resolve()),
        )
        return self._process(gate)

    def play(self) -> None:
        """Tell the story; what cannot go on is a finding, and the rest is still judged."""
        judge = self.judge
        with judge.step("legacy services and gates"):
            _start(self.legacy.values())
            _start(self.gates.values())
        try:
            with self.load, self.straight:
                self._under_load()
        except ServiceError as error:
            judge.violations.append(Finding(rule="candidate/service", cause=str(error)))
        log = self.load.history()
        judge.add(joined("history", self.histories))
        limits, excused = downtime.Limits(failed_max=0), {FAULT: (MENDED,)}
        judge.add(downtime.check(log, limits, excused=excused, locked_ms=self.locked_ms))
        if self.harmed is not None:
            judge.add(self.harmed.result())

    def _under_load(self) -> None:
        for number in range(1, self.live.rounds + 1):
            if self.harmed is not None:
                self.harmed.begin(number, self.load.mark)
            if not self._go_there():
                return
            self._judge_unified(number)
            self._warm()
            if not self._roll_back():
                return
            self._warm()
            for one in self.unified.values():
                one.stop()
            self._judge_legacy(number)
            if self.harmed is not None:
                self.harmed.end()
        if self.live.stays and self._go_there() and self._apply("cleanup"):
            self._warm()
            self._judge_unified(self.live.rounds, stays=True)

    def _go_there(self) -> bool:
        """Move to the unified services, up to the validation; False where that failed."""
        self._warm()
        if not self._apply("shadow"):
            return False
        with self.judge.step("unified services"):
            _start(self.unified.values())
        if not self._apply("cutover"):
            return False
        self._warm()
        return self._apply("validate")

    def _warm(self) -> None:
        """Let the clients go on for a while; a load that is stuck is a finding of `downtime`."""
        time.sleep(self.live.seconds)
        self.load.wait(answered=_WARM, timeout_s=_WAIT_S)

    def _apply(self, until: str) -> bool:
        return self._run("apply", until=until)

    def _roll_back(self) -> bool:
        return self._run("rollback", keep_writes=True)

    def _run(self, op: str, *, until: str = "cleanup", keep_writes: bool = False) -> bool:
        """Run one command, once more where nobody knows how it ended."""
        outcome = self._asked(op, until=until, keep_writes=keep_writes)
        if not outcome.definite and self.harmed is None:
            self.judge.indefinite(outcome)
            outcome = self._asked(op, until=until, keep_writes=keep_writes)
        if not outcome.ok:
            self.judge.failed(outcome)
        return outcome.ok

    def _asked(self, op: str, *, until: str, keep_writes: bool) -> Outcome:
        """Run one command, marking when it holds which service's requests."""
        name = f"apply until {until}" if op == "apply" else op
        self.load.mark(until if op == "apply" else op)
        with self.judge.step(name):
            if self.harmed is None:
                outcome = self._undisturbed(op, until=until, keep_writes=keep_writes)
            else:
                outcome = self.harmed.run(op, until=until, keep_writes=keep_writes, seen=self._mark)
        for service in sorted(self.held):
            self.load.mark("back-out", service)
        self.held.clear()
        return outcome

    def _undisturbed(self, op: str, *, until: str, keep_writes: bool) -> Outcome:
        with self.candidate.go_live(
            op, self.tree, gates=self.control, until=until, keep_writes=keep_writes
        ) as command:
            while (event := command.next_pause()) is not None:
                started = event["event"] == "step_started"
                self.straight.hurry(started and str(event.get("step")).startswith(_AT_STAKE))
                if event.get("phase") == (until if op == "apply" else op):
                    self._mark(event)
            return self.judge.heard(command.finish())

    def _mark(self, event: Event) -> None:
        name = str(event.get("step")).partition(".")[2]
        locked_us = (event.get("counts") or {}).get("locked us")
        if locked_us and not event.get("skipped"):
            self.locked_ms.append(locked_us / 1_000)
        if name in ("model-registry", "services"):
            self.straight.let_log(name == "services" and event["event"] == "step_done")
        for service in self.gates if name == "services" else [name]:
            if service not in self.gates:
                continue
            if event["event"] == "step_started":
                self.load.mark("hold", service)
                self.held.add(service)
            else:
                self.load.mark("release", service)
                self.held.discard(service)

    # What is judged ------------------------------------------------------------------------------

    @contextmanager
    def _at_rest(self, what: str, number: int) -> Iterator[tuple[Path, Snapshot, list[History]]]:
        """Yield a copy of the tree, taken while nobody writes, and all that was until then.

        That is what was there before, with the registry's log as it is by now, and the histories.
        These are read in the first round and in the last: a write that was lost in between is
        still lost at the end, and histories grow long. The clients rest until all is judged, which
        would cost them time that no service takes. EnvironmentFaultError where a request stays
        under way for longer than it may.
        """
        if not self.load.quiesce(timeout_s=_WAIT_S):
            raise EnvironmentFaultError("the clients of a load did not come to rest; try it again")
        self.load.mark("clients rest")
        self.straight.rest()
        is_read = number in (1, self.live.rounds)
        histories = [self.straight.history(), self.load.history()] if is_read else []
        at_rest = take(self.tree, self.out / f"{what}-{number}", self.candidate)
        before = lay(self.before.directory, self.out / f"before-{what}-{number}")
        if (before / REGISTRY_LOG).is_file():
            (before / REGISTRY_LOG).write_bytes(self.straight.logged)
        yield at_rest.directory, Snapshot.of(before), histories
        judged = (*self.judge.results, *self.histories)
        if number < self.live.rounds and all(one.verdict is Verdict.VALID for one in judged):
            for copied in (at_rest.directory, before):  # those of many rounds would fill any disk
                shutil.rmtree(copied)
        self.straight.resume()
        self.load.mark("clients go on")
        self.load.pace(self.live.rate)

    def _judge_unified(self, number: int, *, stays: bool = False) -> None:
        """Judge what the unified database holds, the clients' rows and the fixture's.

        Where it `stays`, nothing may be left of how it came.
        """
        with self._at_rest("unified", number) as (folder, before, histories):
            root = folder / DATABASES["root"]
            places = dict.fromkeys((*_PLACES, ROOT), (root, Shape.UNIFIED))
            self._compare(histories, places)
            self._judge_sums("integrity", root, [root], complete=True)
            for each in (self.load, self.straight):
                forget_load(root, Shape.UNIFIED, prefix=each.prefix)
            evidence = Evidence(
                before=before,
                mapping=Declared.load(self.candidate.mapping),
                after=root,
                tree=folder,
            )
            left = ("schema", "configuration") if stays else ()
            self.judge.check((*left, "rows", "in-use", "integrity"), evidence)

    def _judge_legacy(self, number: int) -> None:
        """Judge what the databases hold after the way back; nothing else may be left."""
        with self._at_rest("legacy", number) as (folder, before, histories):
            places = {
                service: (folder / DATABASES[source], _SHAPES[source])
                for service, source in _PLACES.items()
            }
            places[ROOT] = (folder / DATABASES["root"], Shape.ROOT)
            self._compare(histories, places)
            root = places[ROOT][0]
            self._judge_sums("rollback", root, [path for path, _ in places.values()])
            for path, shape in places.values():
                for each in (self.load, self.straight):
                    forget_load(path, shape, prefix=each.prefix)
            reckoned.forget_reckoned(root, before.path("root"))
            evidence = Evidence(
                before=before,
                mapping=Declared.load(self.candidate.mapping),
                rolled_back=Snapshot.of(folder),
                backups=self.candidate.backups,
            )
            self.judge.check(("rollback",), evidence)

    def _judge_sums(
        self, check: str, root: Path, usage: list[Path], *, complete: bool = False
    ) -> None:
        """Judge what services reckoned by themselves, before it is forgotten with its usage."""
        found = reckoned.check(check, root, self.before.path("root"), usage, complete=complete)
        if found is not None:
            self.judge.add(found)

    def _compare(
        self, histories: Iterable[History], places: Mapping[str, tuple[Path, Shape]]
    ) -> None:
        """Judge each history by what the places hold of it."""
        for until_now in (each for each in histories if each.calls):
            prefix = until_now.start.prefix
            final: dict[str, Holding] = {
                service: holding(path, shape, prefix=prefix)
                for service, (path, shape) in places.items()
            }
            found = history.check(until_now, final)
            examined = found.examined
            if prefix == self.straight.prefix:
                examined = {f"{what}, past the gates": n for what, n in examined.items() if n}
            self.histories.append(
                CheckResult.judged(
                    "history",
                    [*found.findings, *_halves(*places["vector-memory"], prefix)],
                    examined,
                    verifies=found.verifies,
                    does_not_verify=found.does_not_verify,
                    details=found.details,
                )
            )


def _start(services: Iterable[Running]) -> None:
    ones = list(services)
    deadline = time.monotonic() + _WAIT_S
    for one in ones:
        one.launch()
    for one in ones:
        one.wait(until=deadline)


def _halves(path: Path, shape: Shape, prefix: str) -> Iterator[Finding]:
    """Yield the vector memories that stand there without their vector."""
    for key in without_vector(path, shape, prefix=prefix):
        yield Finding(
            rule="history/write-half",
            database="vector-memory",
            table="vector",
            key=key,
            cause=f"{shape} has this memory without its vector",
        )
