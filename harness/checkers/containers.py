"""The containers checker: the image migrates as the candidate does, and serves as it should.

What an operator would do is done: a report of the tree is approved, the image's own command
migrates the tree on a mounted folder, containers of the image serve it on published ports. There
the checks `api` and `durability` are made again, on containers in the place of processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx

from harness.candidate_image import Image
from harness.candidate_services import Service
from harness.checkers.api import tried
from harness.checkers.approving import NotApprovedError, approved
from harness.checkers.durability import Storm
from harness.checkers.evidence import Evidence
from harness.checkers.serving import UNASKED, Served, copied, digest_copy, put_in
from harness.checkers.writes import recipes
from harness.containers import Container, NoContainersError, contained, made, taken_over
from harness.errors import InvariantError
from harness.fixture.folder import fixtures_folder
from harness.model import DATABASES, CheckResult, Finding
from harness.providers import Providers
from harness.services import ServiceError
from harness.snapshot import database_differences, database_facts

__all__ = ["check"]

_VERIFIES: Final = (
    "The image's own command migrates a tree on a mounted folder, with an approval that its own"
    " verifier accepts, and comes to the same database as the candidate. From one container all"
    " services answer generated requests on published ports as the check api demands, and the"
    " container ends in good order when it is asked to. While clients write, containers are killed"
    " with SIGKILL, stopped, and removed; another one takes the place of each on the same folder:"
    " no acknowledged write is lost, as the check durability demands."
)
_DOES_NOT_VERIFY: Final = (
    "Engines of other machines, other storage than a mounted folder, power loss; compose files."
)
_HARMS: Final = ("kill", "stop")
_MIGRATE_S: Final = 300.0
_APPROVAL: Final = "/run/approval"
_NOBODY: Final = "http://127.0.0.1:9"
# Nothing of the harness's own can be reached from in there.
_ENVIRONMENT: Final = {
    **UNASKED,
    "OLLAMA_HOST": _NOBODY,
    "OLLAMA_URL": _NOBODY,
    "SYNTHETIC_BASE_URL": _NOBODY,
    "DEVFLOW_SEED": "1",
}


def check(evidence: Evidence, folder: Path | None = None) -> CheckResult:
    """Run the candidate's image, where an engine is; `folder` holds the recipes of writes."""
    if evidence.work is None or evidence.tree is None or evidence.after is None:
        raise InvariantError("a check of services was asked for a run without a migrated tree")
    said = {"verifies": _VERIFIES, "does_not_verify": _DOES_NOT_VERIFY}
    if evidence.image is None:
        return CheckResult.lacking("containers", "the manifest declares no image", **said)
    try:
        name = made(evidence.image)
    except NoContainersError as error:
        return CheckResult.lacking("containers", str(error), **said)
    trials = _Trials(evidence, evidence.image, name, (evidence.work / "containers").resolve())
    try:
        tree = trials.migrated()
        trials.ask(tree)
        trials.write(tree, folder or fixtures_folder() / "writes")
    except (NotApprovedError, ServiceError) as error:
        trials.findings.append(Finding(rule="containers/service", cause=str(error)))
    except httpx.HTTPError as error:  # at rest, when nobody kills it
        cause = f"a container was at rest and gave no answer: {error}"
        trials.findings.append(Finding(rule="containers/no-answer", cause=cause))
    return CheckResult.judged(
        "containers", trials.named(), trials.examined, details={"services": trials.details}, **said
    )


@dataclass(slots=True)
class _Trials:
    """What is done with one image, and what came of it."""

    evidence: Evidence
    image: Image
    name: str
    work: Path
    findings: list[Finding] = field(default_factory=list)
    examined: Counter[str] = field(default_factory=Counter)
    details: list[dict[str, Any]] = field(default_factory=list)

    @property
    def services(self) -> list[Service]:
        only = self.evidence.trial.only
        return [
            service
            for service in self.evidence.services
            if service.name in self.image.ports and (not only or service.name in only)
        ]

    def named(self) -> Iterator[Finding]:
        """Yield the findings under this check's name, whichever other one made them."""
        for finding in self.findings:
            rule = f"containers/{finding.rule.partition('/')[2]}"
            yield replace(finding, rule=rule, cause=f"in a container, {finding.cause}")

    def migrated(self) -> Path:
        """Migrate a copy of the sources by the image's own command; return the tree."""
        tree = copied(self.evidence.before.directory, self.work / "tree")
        approval = approved(tree, self.image.manifest, self.work / "approval")
        user = taken_over(tree, self.name)
        container = Container(
            self.name,
            self.image.migrating(_APPROVAL),
            user=user,
            mounts={tree: self.image.tree, approval: _APPROVAL},
            environment=self.evidence.environment,
            log=self.work / "migrate.log",
        )
        code = container.run(timeout_s=_MIGRATE_S)
        self.examined["containers"] += container.started
        if code:
            said = " ".join(container.log.read_text(encoding="utf-8", errors="replace").split())
            raise ServiceError(f"its migration ended with {code}: {said[-400:]}")
        assert self.evidence.after is not None  # noqa: S101 - `check` saw to it
        found = digest_copy(tree / DATABASES["root"], self.work / "migrated.sqlite")
        self.findings += database_differences(
            database_facts(self.evidence.after),
            database_facts(found),
            database="unified",
            check="containers",
        )
        self.examined["migrations"] += 1
        return tree

    def ask(self, tree: Path) -> None:
        """Send every service generated requests, all of them from one container."""
        place = copied(tree, self.work / "api" / "tree")
        with self._served(self.services, place) as served:
            for service in self.services:
                found, fuzzed, _ = tried(service, served, self.evidence.trial)
                self.findings += found
                self.examined["requests"] += fuzzed.requests
                self._tell(service, requests=fuzzed.requests, findings=len(found))
            code = served.services[self.services[0].name].stop()
            if code != 0:
                cause = f"the services were asked to stop and ended with {code}"
                self.findings.append(Finding(rule="containers/stop", cause=cause))

    def write(self, tree: Path, folder: Path) -> None:
        """Write to each service in a container of its own, and kill and stop that meanwhile."""
        known = recipes(folder)
        for service in self.services:
            if service.name not in known:
                continue
            place = copied(tree, self.work / "durability" / service.name / "tree")
            put_in(place / DATABASES["root"], known[service.name].holds)
            with self._served([service], place) as served:
                trial, recipe = self.evidence.trial, known[service.name]
                storm = Storm(service, recipe, served, trial, harms=_HARMS)
                found = storm.told()
            self.findings += found
            self.examined["acknowledged writes"] += len(storm.acknowledged)
            self.examined["unacknowledged writes"] += len(storm.open)
            self.examined["writes sent again"] += storm.again
            self.examined["kills"] += storm.kills
            self.examined["stops"] += storm.stops
            self._tell(
                service,
                acknowledged=len(storm.acknowledged),
                unacknowledged=len(storm.open),
                kills=storm.kills,
                findings=len(found),
            )

    @contextmanager
    def _served(self, services: Sequence[Service], tree: Path) -> Iterator[Served]:
        log = tree.parent / "container.log"
        with contained(
            self.image, self.name, services, tree=tree, environment=_ENVIRONMENT, log=log
        ) as found:
            container = next(iter(found.values())).container
            try:
                yield Served(services=found, tree=tree, providers=Providers({}, {}))
            finally:
                self.examined["containers"] += container.started

    def _tell(self, service: Service, **figures: int) -> None:
        self.details.append({"service": service.name, **figures})
