"""The durability checker: what was acknowledged is there after SIGKILL, and nothing is half there.

Clients write side by side, the service is killed at drawn moments and started again, and each
write is looked for by the API and in the database.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import apsw
import httpx

from harness.candidate_services import Service
from harness.checkers.evidence import Evidence
from harness.checkers.invariants import violations
from harness.checkers.serving import Served, digest_copy, served_after
from harness.checkers.writes import Recipe, Written, recipes
from harness.database import open_read_only
from harness.fixture.folder import fixtures_folder
from harness.model import CheckResult, Finding
from harness.scenario import Trial
from harness.services import Live, ServiceError

__all__ = ["Storm", "check"]

Harm = Literal["kill", "stop"]
_KILL: Final[Harm] = "kill"

_VERIFIES: Final = (
    "Each service is killed with SIGKILL while clients write: after it has started again, every"
    " write that was acknowledged is found by the API and in the database as it was sent, each"
    " other one is there whole or not at all; what is sent once more, because nobody acknowledged"
    " it or because the answer may have been lost, counts once, and other content"
    " under a known id takes the place of the first or is refused; what the service showed"
    " at rest it shows still, and the database is sound."
)
_DOES_NOT_VERIFY: Final = (
    "Power loss: what a killed process had written is still in the machine's memory. Services"
    " that keep nothing, and writes that `fixtures/writes/` does not name."
)
_TIMEOUT_S: Final = 10.0
_DEADLINE_S: Final = 180.0
_SHOWN: Final = 5
_SENT_AGAIN: Final = 20
_LATER_S: Final = 0.05


def check(evidence: Evidence, folder: Path | None = None) -> CheckResult:
    """Kill every service that the scenario names and that has a recipe, while it writes.

    `folder` holds the recipes: `fixtures/writes/` where it is None.
    """
    trial = evidence.trial
    known = recipes(folder or fixtures_folder() / "writes")
    findings: list[Finding] = []
    examined: Counter[str] = Counter()
    details: list[dict[str, Any]] = []
    for service in evidence.services:
        recipe = known.get(service.name)
        if recipe is None or (trial.only and service.name not in trial.only):
            continue
        try:
            place = f"durability/{service.name}"
            with served_after(evidence, [service], place, first=recipe.holds) as served:
                storm = Storm(service, recipe, served, trial)
                findings += storm.told()
        except ServiceError as error:
            findings.append(Finding(rule="durability/service", cause=str(error)))
            continue
        except httpx.HTTPError as error:  # at rest, when nobody kills it
            cause = f"{service.name} was at rest and gave no answer: {error}"
            findings.append(Finding(rule="durability/no-answer", cause=cause))
            continue
        examined[f"{service.name} acknowledged writes"] += len(storm.acknowledged)
        examined["unacknowledged writes"] += len(storm.open)
        examined["writes sent again"] += storm.again
        examined["kills"] += storm.kills
        details.append(
            {
                "service": service.name,
                "acknowledged": len(storm.acknowledged),
                "unacknowledged": len(storm.open),
                "kills": storm.kills,
            }
        )
    return CheckResult.judged(
        "durability",
        findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details={"services": details},
    )


@dataclass(slots=True)
class Storm:
    """Clients that write to one service while it is harmed: as `harms` say, or killed so often."""

    service: Service
    recipe: Recipe
    served: Served
    trial: Trial
    harms: tuple[Harm, ...] = ()
    acknowledged: list[Written] = field(default_factory=list)
    open: list[Written] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kills: int = 0
    stops: int = 0
    again: int = 0
    _up: threading.Event = field(default_factory=threading.Event)
    _done: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> int:
        """How many writes were sent, once or again."""
        return len(self.acknowledged) + len(self.open) + self.again

    @property
    def running(self) -> Live:
        """The service that is written to."""
        return self.served.services[self.service.name]

    def told(self) -> list[Finding]:
        """Let the storm rage, and return what it broke."""
        folder = self.served.tree.parent
        before = digest_copy(self.served.database, folder / "before.sqlite")
        self._rage()
        findings = [
            self._finding("durability/refused", f"a write was answered otherwise: {text}")
            for text in self.refused[:_SHOWN]
        ]
        amid = digest_copy(self.served.database, folder / "amid.sqlite")
        findings += self._parts(amid, self.acknowledged, sure=True)
        findings += self._parts(amid, self.open, sure=False)
        findings += self._again()
        self._otherwise()
        findings += self._stays()
        findings += self._read_back()
        self.running.stop()
        after = digest_copy(self.served.database, folder / "after.sqlite")
        findings += self._parts(after, self._resent(), sure=True)
        findings += self._then(after)
        broken, _ = violations(before, after, service=self.service.name)
        return findings + broken

    # Writing and killing -------------------------------------------------------------------------

    def _rage(self) -> None:
        """Write until enough is acknowledged, and kill at drawn counts of it.

        Every other kill comes a moment later: at once after an answer, what a service does between
        two of them has not begun.
        """
        rng = random.Random(f"{self.trial.seed} {self.service.name}")  # noqa: S311 - drawn again
        harms = self.harms or (_KILL,) * self.trial.kills
        drawn = len(harms)
        moments = sorted(rng.sample(range(1, max(self.trial.writes, drawn + 1)), drawn))
        deadline = time.monotonic() + _DEADLINE_S
        self._up.set()
        clients = [
            threading.Thread(target=self._client, args=(number, deadline), daemon=True)
            for number in range(self.trial.clients)
        ]
        for client in clients:
            client.start()
        try:
            for number, (moment, harm) in enumerate(zip(moments, harms, strict=True)):
                while len(self.acknowledged) < moment and not self._over(deadline):
                    time.sleep(0.0005)
                if number % 2:
                    time.sleep(rng.uniform(0, _LATER_S))
                self._harm(harm)
        finally:
            self._up.set()
            for client in clients:
                client.join(_DEADLINE_S)

    def _over(self, deadline: float) -> bool:
        return self._done.is_set() or time.monotonic() > deadline

    def _harm(self, harm: Harm) -> None:
        self._up.clear()
        if harm == "stop":
            self.running.stop()
            self.stops += 1
        else:
            self.running.kill()
            self.kills += 1
        self.running.start()
        self._up.set()

    def _client(self, number: int, deadline: float) -> None:
        rng = random.Random(f"{self.trial.seed} {number}")  # noqa: S311 - drawn again
        turn = 0
        with httpx.Client(base_url=self.running.url, timeout=_TIMEOUT_S) as client:
            while not self._over(deadline):
                turn += 1
                written = Written.drawn(self.recipe, rng, f"{number}-{turn}")
                try:
                    answer = _sent(client, written)
                except httpx.HTTPError:
                    with self._lock:
                        self.open.append(written)
                    self._up.wait(_DEADLINE_S)
                    continue
                self._note(written, answer)

    def _note(self, written: Written, answer: httpx.Response) -> None:
        with self._lock:
            if answer.status_code in (200, 201, 202, 204):
                self.acknowledged.append(written)
            else:
                self.open.append(written)
                if answer.status_code != 503:  # it may say that it cannot just now
                    said = f"{answer.status_code} to POST {written.path}: {answer.text}"
                    self.refused.append(said[:400])
            enough = len(self.acknowledged) >= self.trial.writes
            if enough or len(self.refused) > self.trial.writes:
                self._done.set()

    def _again(self) -> Iterator[Finding]:
        """Send once more what nobody acknowledged, as its client would, and some that was."""
        shown = 0
        with httpx.Client(base_url=self.running.url, timeout=_TIMEOUT_S) as client:
            for written in self._resent():
                answer = _sent(client, written)
                self.again += 1
                if answer.is_success or answer.status_code == httpx.codes.CONFLICT:
                    continue
                shown += 1
                if shown <= _SHOWN:
                    yield self._finding(
                        "durability/not-again",
                        f"POST {written.path}, sent once more, is neither acknowledged nor known",
                        key=written.id,
                        expected="a success, or 409",
                        actual=f"{answer.status_code}: {answer.text[:200]}",
                    )

    def _otherwise(self) -> None:
        """Send other content under ids that are known: where it is refused, the first must stay."""
        with httpx.Client(base_url=self.running.url, timeout=_TIMEOUT_S) as client:
            for place in range(
                max(0, len(self.acknowledged) - _SENT_AGAIN), len(self.acknowledged)
            ):
                was = self.acknowledged[place]
                other = replace(was, words=f"{was.words} otherwise")
                if other.body == was.body:
                    continue
                self.again += 1
                if client.post(other.path, json=other.body).is_success:
                    self.acknowledged[place] = other

    def _resent(self) -> list[Written]:
        return [*self.open, *self.acknowledged[-_SENT_AGAIN:]]

    # Looking for it again ------------------------------------------------------------------------

    def _stays(self) -> Iterator[Finding]:
        """Compare what the service shows at rest with what it shows after a last kill."""
        with httpx.Client(base_url=self.running.url, timeout=_TIMEOUT_S) as client:
            before = {path: client.get(path) for path in self.recipe.stays}
        self._harm("kill")
        with httpx.Client(base_url=self.running.url, timeout=_TIMEOUT_S) as client:
            for path, was in before.items():
                now = client.get(path)
                if (was.status_code, was.content) != (now.status_code, now.content):
                    yield self._finding(
                        "durability/forgotten",
                        f"GET {path} answers otherwise after a kill at rest",
                        key=path,
                        expected=f"{was.status_code}: {was.text[:200]}",
                        actual=f"{now.status_code}: {now.text[:200]}",
                    )

    def _read_back(self) -> Iterator[Finding]:
        shown = 0
        with httpx.Client(base_url=self.running.url, timeout=_TIMEOUT_S) as client:
            for written in self.acknowledged:
                if written.read is None:
                    continue
                answer = client.get(written.read)
                found = answer.json() if answer.status_code == 200 else {}
                sent = {name: written.body.get(name) for name in written.write.same}
                shows = {name: found.get(name) for name in sent}
                if answer.status_code != 200 or shows != sent:
                    shown += 1
                    if shown <= _SHOWN:
                        yield self._finding(
                            "durability/not-read",
                            f"POST {written.path} was acknowledged, and GET {written.read} does"
                            " not show it",
                            key=written.id,
                            expected=json.dumps(sent, ensure_ascii=False),
                            actual=f"{answer.status_code}: {answer.text[:200]}",
                        )

    def _parts(self, copy: Path, writes: Iterable[Written], *, sure: bool) -> Iterator[Finding]:
        """Count the parts of writes: `sure` ones are there, others whole or not at all."""
        shown = 0
        with closing(open_read_only(copy, at_rest=True)) as database:
            for written in writes:
                counts = self._counts(database, written)
                wanted = [1 if sure else counts[0]] * len(counts)
                if counts == wanted:
                    continue
                shown += 1
                if shown <= _SHOWN:
                    rule = "durability/lost" if sure else "durability/half"
                    what = "was acknowledged, and" if sure else "was interrupted, and"
                    yield self._missing(written, counts, rule, what)

    def _then(self, copy: Path) -> Iterator[Finding]:
        """Yield what the recipe says of the end, and does not hold."""
        with closing(open_read_only(copy, at_rest=True)) as database:
            for sql in self.recipe.then:
                if (count := next(iter(database.execute(sql)))[0]) != 1:
                    yield self._finding(
                        "durability/not-done",
                        f"in the end it does not hold that this counts one: {sql}",
                        expected="1",
                        actual=str(count),
                    )

    def _counts(self, database: apsw.Connection, written: Written) -> list[int]:
        bindings = {"id": written.id, "words": written.words}
        return [int(next(iter(database.execute(sql, bindings)))[0]) for sql in written.write.parts]

    def _missing(self, written: Written, counts: list[int], rule: str, what: str) -> Finding:
        there = "nothing" if not any(counts) else "a part" if not all(counts) else "more"
        return self._finding(
            rule,
            f"POST {written.path} {what} {there} of it is in the database",
            key=written.id,
            expected="1 of each part",
            actual=", ".join(map(str, counts)),
        )

    def _finding(self, rule: str, says: str, **more: str) -> Finding:
        return Finding(
            rule=rule,
            cause=f"{self.service.name}, killed {self.kills} times: {says}",
            database="unified",
            table=self.service.name,
            key=more.get("key"),
            expected=more.get("expected"),
            actual=more.get("actual"),
        )


def _sent(client: httpx.Client, written: Written) -> httpx.Response:
    """Send a write, and before it what belongs first: where that cannot be just now, so be it."""
    for path, body in written.first:
        answer = client.post(path, json=body)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return answer
    return client.post(written.path, json=written.body)
