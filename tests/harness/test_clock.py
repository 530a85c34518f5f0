"""Clocks of processes under test: they jump, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import httpx
import pytest
from test_harmed import SET_BACK, Told

from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.candidate_services import Service
from harness.mutant import Edit, Mutant, plant
from harness.nemeses.clock import LACK, Clocks, own_clocks
from harness.play import play
from harness.scenario import Fault, FixtureSource, LiveLoad, Scenario
from harness.services import Running

HOUR_S = 3600.0
# What each way of asking for the time says: of the day, of how long things take, and SQLite's.
CLOCK_SERVICE = """
import json, sqlite3, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Told(BaseHTTPRequestHandler):
    def do_GET(self):
        begun = time.monotonic()
        time.sleep(0.05)
        body = json.dumps({
            "day": time.time(), "monotonic": time.monotonic(), "slept": time.monotonic() - begun,
            "sql": sqlite3.connect(":memory:").execute("SELECT unixepoch('now')").fetchone()[0],
        }).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Told).serve_forever()
"""


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks | None:
    found = own_clocks(tmp_path / "clocks")
    if found is None:
        warnings.warn(f"no clock is set: {LACK}", stacklevel=1)
    return found


def told(running: Running) -> dict[str, float]:
    answer: dict[str, float] = httpx.get(running.url + "/health").json()
    return answer


def is_near(one: float, other: float) -> bool:
    return abs(one - other) < 30


def test_a_running_service_sees_its_clock_jump_back_and_ahead_and_its_monotonic_one_not(
    clocks: Clocks | None, tmp_path: Path
) -> None:
    if clocks is None:
        return
    (tmp_path / "clock.py").write_text(CLOCK_SERVICE)
    service = Service(
        name="clock", command=(sys.executable, "clock.py", "{port}"), directory=tmp_path
    )
    running = Running(service, environment=clocks.environment("clock"), log=tmp_path / "log")
    running.start()
    try:
        for by_s, off_s in ((-HOUR_S, -HOUR_S), (2 * HOUR_S, HOUR_S), (-HOUR_S, 0.0)):
            clocks.move(["clock"], by_s=by_s)
            seen, expected = told(running), time.time() + off_s
            assert is_near(seen["day"], expected)
            assert is_near(seen["sql"], expected)
            assert is_near(seen["monotonic"], time.monotonic())
            assert 0.04 < seen["slept"] < 5
        assert clocks.is_in(running.pid)
    finally:
        running.stop()


def test_one_clock_jumps_and_the_others_do_not(clocks: Clocks | None) -> None:
    if clocks is None:
        return
    now = {}
    for name in ("one", "other"):
        environment = {**os.environ, **clocks.environment(name)}
        if name == "one":
            clocks.move([name], by_s=-HOUR_S)
        said = subprocess.run(
            [sys.executable, "-c", "import time; print(time.time())"],
            env=environment, capture_output=True, check=True,
        )  # fmt: skip
        now[name] = float(said.stdout)
    assert is_near(now["one"] + HOUR_S, time.time())
    assert is_near(now["other"], time.time())


def test_a_library_that_does_nothing_is_no_clock(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path / "none.so", tmp_path / "clocks")
    assert not clocks.work()
    assert clocks.names == ()


def test_a_process_without_its_clock_is_known(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path / "none.so", tmp_path / "clocks")
    assert not clocks.is_in(os.getpid())


def test_a_migration_whose_clock_is_set_back_is_not_excused_for_it(
    clocks: Clocks | None, tmp_path: Path
) -> None:
    if clocks is None:
        return
    tree = tmp_path / "tree"
    tree.mkdir()
    came = Told(tree, SET_BACK, clocks=clocks)
    assert came.outcomes[-1].ok
    assert came.result.examined == {"clock jumps of migration": 1, "commands run again": 0}
    assert [name for name, _ in came.marks] == ["clock", "clock"]
    assert came.marks[1][1] == f"right again: {came.marks[0][1]}"


def test_a_command_that_fails_while_its_clock_is_wrong_is_not_run_again(
    clocks: Clocks | None, tmp_path: Path
) -> None:
    if clocks is None:
        return
    tree = tmp_path / "tree"
    tree.mkdir()
    came = Told(tree, SET_BACK, wrong="clock", until=("shadow", "cutover"), clocks=clocks)
    assert [outcome.ok for outcome in came.outcomes] == [True, False]
    assert came.result.examined["commands run again"] == 0


def test_jumps_of_one_clock_add_up_and_end_where_it_is_right(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path / "none.so", tmp_path / "clocks")
    for name in ("one", "other"):
        clocks.environment(name)
    clocks.move(["one", "other"], by_s=-HOUR_S)
    clocks.move(["one"], by_s=0.5)
    assert (clocks.off_s("one"), clocks.off_s("other")) == (0.5 - HOUR_S, -HOUR_S)
    assert clocks.environment("one")["GATE_CLOCK"] == str(tmp_path / "clocks" / "one")
    clocks.move(["one"], by_s=HOUR_S - 0.5)
    assert clocks.off_s("one") == 0.0


LAST_WRITER_BY_THE_CLOCK = Edit(
    file="services/database_manager/legacy/tasks.py",
    find='SET {changes} WHERE seq = :seq"',
    replace='SET {changes} WHERE seq = :seq AND updated_at <= :updated_at"',
)


def test_services_that_tell_by_the_clock_who_wrote_last_are_caught(
    clocks: Clocks | None, tmp_path: Path
) -> None:
    if clocks is None:
        return
    mutant = Mutant(
        name="last-writer-by-the-clock",
        breaks="An update that is older than what stands there, by the clock, changes nothing.",
        edits=(LAST_WRITER_BY_THE_CLOCK,),
        defined_in=Path(__file__),
    )
    manifest = plant(mutant, DEFAULT_MANIFEST.parent, tmp_path / "candidate")
    back = Fault(
        harm="set-clock", target="unified", by_seconds=-HOUR_S, at=("rollback.drain",),
        when=("before",), seconds=2.0,
    )  # fmt: skip
    scenario = Scenario(
        name=mutant.name,
        description=mutant.breaks,
        fixture=FixtureSource(profile="as-planned"),
        path=mutant.defined_in,
        live=LiveLoad(rate=None, seconds=1.0, faults=(back,)),
    )
    result = play(scenario, tmp_path / "out", candidate=Candidate.load(manifest))
    found = {finding.rule for finding in result.findings}
    assert any(rule.startswith("history/") for rule in found)
