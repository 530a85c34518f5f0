"""A service whose database was taken back says so once, and is no trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from conftest import Served

from devflow.migration.database import back_up
from devflow.services.errors import RefusedError
from devflow.services.knowledge import background as knowledge
from devflow.services.model_registry import background as registry

SCHEMA = Path(__file__).resolve().parents[3] / "fixtures" / "schema" / "root.sql"


class Log:
    """Stands for a module's log, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def info(self, event: str, **_: Any) -> None:
        self.told.append(("info", event))

    def warning(self, _: str, *, error: str) -> None:
        self.told.append(("warning", error))

    def error(self, _: str, *, exc_info: Exception) -> None:
        self.told.append(("error", str(exc_info)))


def take_back(database: Path) -> None:
    """Put a legacy root in the database's place, as a way back does under who has it open."""
    with (
        closing(apsw.Connection(":memory:")) as root,
        closing(apsw.Connection(str(database))) as unified,
    ):
        root.execute(SCHEMA.read_text())
        back_up(root, unified, name=str(database))


@pytest.mark.parametrize(
    ("service", "module"), [("model-registry", registry), ("knowledge", knowledge)]
)
def test_it_is_told_once_and_in_one_line(
    served: Served, empty_database: Path, monkeypatch: pytest.MonkeyPatch, service: str, module: Any
) -> None:
    log, rounds = Log(), [0]
    monkeypatch.setattr(module, "_log", log)
    _counted(monkeypatch, rounds)
    monkeypatch.setattr(registry, "_PAUSE_S", 0.01)
    monkeypatch.setattr(registry, "_LOOK_EVERY_S", 0.01)
    client = served(service, empty_database, DEVFLOW_LEARN_INTERVAL_S=0.01)
    take_back(empty_database)
    _until(lambda: bool(log.told))
    seen = rounds[0]
    _until(lambda: rounds[0] > seen + 5)
    said = f"{empty_database} is not the unified database, or not any more: "
    assert [(kind, text.startswith(said)) for kind, text in log.told] == [("warning", True)]
    path = {"model-registry": "/v2/providers", "knowledge": "/v2/entities"}[service]
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"].startswith(said)) == (503, True)


def _counted(monkeypatch: pytest.MonkeyPatch, rounds: list[int]) -> None:
    """Count the rounds that background work rests after."""
    rest = asyncio.sleep

    async def counted(delay_s: float) -> None:
        rounds[0] += 1
        await rest(delay_s)

    monkeypatch.setattr(asyncio, "sleep", counted)


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_puts_work_off_is_told_again_after_it_went_or_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    monkeypatch.setattr(registry, "_log", log)
    coming = iter(["a", "a", "b", "b", "", "b"])

    async def work() -> float:
        try:
            said = next(coming)
        except StopIteration:
            raise asyncio.CancelledError from None
        if said:
            raise RefusedError(said)
        return 0.0

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(registry._for_ever(work, every_s=0.001))
    assert [text for _, text in log.told] == ["a", "b", "b"]
