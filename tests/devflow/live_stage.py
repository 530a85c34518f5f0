"""The three legacy stand-ins of a tree, each behind a real gate proxy, and their successors."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devflow_tree import REPOSITORY, LegacyTree

from devflow.live.control import GateControl
from harness.candidate_services import Service
from harness.services import Running, free_port

MODULES = {
    "database-manager": ("database_manager", "legacy"),
    "vector-memory": ("vector_memory", "vector"),
    "model-registry": ("model_registry", None),
}


def _running(logs: Path, name: str, *words: str, **environment: str) -> Running:
    service = Service(
        name=name,
        command=(sys.executable, "-m", *words),
        directory=REPOSITORY,
        pythonpath=(REPOSITORY,),
    )
    return Running(service, environment=environment, log=logs / f"{name}.log")


@dataclass(frozen=True)
class Fronted:
    """One service: what stands at its port, and what answers behind."""

    legacy: Running
    unified: Running
    proxy: Running
    gate: GateControl

    @property
    def url(self) -> str:
        return self.proxy.url


def _fronted(tree: LegacyTree, name: str, logs: Path) -> Fronted:
    module, source = MODULES[name]
    database = {"DATABASE_PATH": str(tree.path(source))} if source else {}
    legacy = _running(
        logs, f"legacy-{name}", f"fixtures.services.{module}", "{port}", **database
    )  # fmt: skip
    unified = _running(
        logs, f"unified-{name}", "devflow.services", name, "{port}",
        DEVFLOW_DB_PATH=str(tree.root), DEVFLOW_BESIDE_LEGACY="true", DEVFLOW_EMBEDDER="lexical",
        DEVFLOW_HEALTH_INTERVAL_S="86400", DEVFLOW_LEARN_INTERVAL_S="86400",
    )  # fmt: skip
    control = free_port()
    proxy = _running(
        logs, f"gate-{name}", "devflow", "gate", name, "{port}", "--control", str(control),
        "--legacy", legacy.url, "--unified", unified.url, "--tree", str(tree.directory),
    )  # fmt: skip
    return Fronted(legacy, unified, proxy, GateControl(name, control))


@contextlib.contextmanager
def fronted(
    tree: LegacyTree, logs: Path, names: Sequence[str] = tuple(MODULES), *, successors: bool = True
) -> Iterator[dict[str, Fronted]]:
    """Start the legacy services of `names` and their gates, and the `successors` too."""
    found = {name: _fronted(tree, name, logs) for name in names}
    with contextlib.ExitStack() as stack:
        for one in found.values():
            for running in (one.legacy, one.unified, one.proxy):
                stack.callback(running.kill)
        started = [one.legacy for one in found.values()]
        started += [one.unified for one in found.values() if successors]
        start(started)
        start([one.proxy for one in found.values()])
        yield found


def start(ones: Sequence[Running]) -> None:
    """Start them side by side, and wait until each is healthy."""
    for one in ones:
        one.launch()
    until = time.monotonic() + 60
    for one in ones:
        one.wait(until=until)
