"""A haproxy in the gate's place: what becomes of it, and of its gate, when either dies."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from live_front import Front, answering, front, gate_before, lacks

from devflow import operator
from devflow.live import haproxy
from devflow.live.authority import LEGACY, UNIFIED
from harness.services import ServiceError

HOLD = {"drain_s": 2.0, "lease_s": 30.0}


def process_of(gate: Front) -> int:
    """Return the number of the haproxy process that listens for this gate's controller."""
    admin = f"{gate.gate.port}.sock"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() != "haproxy":
                continue
            if admin in (folder / "environ").read_bytes().decode():
                return int(folder.name)
    raise AssertionError("no haproxy runs")


def is_gone(number: int) -> bool:
    return not Path(f"/proc/{number}").exists()


def controller_of(number: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_haproxy_that_is_killed_is_started_again_and_nobody_is_refused(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    with front(tmp_path, "haproxy") as gate:
        gate.gate.release(UNIFIED)
        for _ in range(3):
            killed = process_of(gate)
            os.kill(killed, signal.SIGKILL)
            gate.until(lambda killed=killed: is_gone(killed))  # type: ignore[misc]
            # The socket listens on: who comes now is waited for, and answered by the next one.
            assert gate.get() == UNIFIED
            assert process_of(gate) != killed
        assert "is started again" in gate.process.log.read_text()


def test_a_haproxy_that_is_killed_amid_a_hold_is_held_when_it_comes_back(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    with front(tmp_path, "haproxy") as gate:
        assert gate.gate.hold(**HOLD)
        killed = process_of(gate)
        os.kill(killed, signal.SIGKILL)
        gate.until(lambda: is_gone(killed))
        assert gate.gate.is_held()
        waiting = gate.pool.submit(gate.get)
        gate.until_waiting(1)
        assert not waiting.done()
        gate.gate.release(UNIFIED)
        assert waiting.result() == UNIFIED


def test_a_haproxy_that_stands_still_lets_nothing_pass_after_a_hold(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    with front(tmp_path, "haproxy") as gate:
        frozen = process_of(gate)
        os.kill(frozen, signal.SIGSTOP)
        # It may not be told to hold, so it is ended; what was in it nobody can count.
        gate.gate.hold(**HOLD)
        assert is_gone(frozen)
        gate.gate.release(UNIFIED)
        assert gate.get() == UNIFIED


def test_a_haproxy_ends_with_whoever_steers_it(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    with front(tmp_path, "haproxy") as gate:
        steered = process_of(gate)
        os.kill(controller_of(steered), signal.SIGKILL)
        gate.until(lambda: is_gone(steered))
        gate.until(gate.gate.is_gone)
        with pytest.raises(httpx.ConnectError):
            gate.get()
        gate.give(UNIFIED)
        gate.process.restart()
        assert gate.get() == UNIFIED


def test_a_gate_that_is_asked_to_end_leaves_no_haproxy_and_no_socket(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    with front(tmp_path, "haproxy") as gate:
        steered = process_of(gate)
        folder = tmp_path / f"devflow-gate-{os.geteuid()}"
        assert [path.name for path in folder.iterdir()] == [f"{gate.gate.port}.sock"]
        assert folder.stat().st_mode & 0o077 == 0
        assert gate.process.stop() == 0
        assert is_gone(steered)
        assert list(folder.iterdir()) == []


def test_a_haproxy_that_dies_again_and_again_is_given_up_in_a_sentence(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    with front(tmp_path, "haproxy") as gate:
        deadline = time.monotonic() + 30
        while gate.process.alive:
            assert time.monotonic() < deadline
            with contextlib.suppress(AssertionError, ProcessLookupError):
                os.kill(process_of(gate), signal.SIGKILL)
            time.sleep(0.01)
        assert "Error: haproxy ended 5 times" in gate.process.log.read_text()


def started(tmp_path: Path, template: str) -> str:
    """Start a gate from a template, which it refuses; return what it said."""
    changed = tmp_path / "changed.cfg"
    changed.write_text(template)
    with contextlib.ExitStack() as stack:
        legacy = stack.enter_context(answering(LEGACY))
        words = ("--by", "haproxy", "--template", str(changed))
        gate = gate_before(tmp_path, legacy=legacy, unified=legacy, words=words)
        stack.callback(gate.process.kill)
        with pytest.raises(ServiceError):
            gate.process.start(timeout_s=20)
        said = gate.process.log.read_text()
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_a_changed_template_is_taken(tmp_path: Path) -> None:
    if lacks("haproxy"):
        return
    changed = tmp_path / "changed.cfg"
    added = "frontend gate\n    http-response set-header x-by template\n"
    changed.write_text(haproxy.TEMPLATE.read_text().replace("frontend gate\n", added))
    with front(tmp_path, "haproxy", "--template", str(changed)) as gate:
        assert httpx.get(gate.url).headers["x-by"] == "template"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("backend unified", "backend unfied", "has no backend unified, as "),
        ("    set-var proc.gate_latency_us int(0)\n", "", "has no variable proc.gate_latency_us"),
        ("nbthread 1", "nbthraed 1", "haproxy does not stay: [ALERT]"),
        ("lua-load haproxy.lua", "lua-load nowhere.lua", "haproxy does not stay: [ALERT]"),
    ],
)
def test_a_template_that_cannot_be_steered_is_refused_in_a_sentence(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    if lacks("haproxy"):
        return
    template = haproxy.TEMPLATE.read_text()
    assert old in template
    said = started(tmp_path, template.replace(old, new))
    assert said.startswith("Error: ")
    assert says in said


# Where there is none -----------------------------------------------------------------------------


def told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str, port: int = 1
) -> tuple[int, str]:
    """Ask for a gate that cannot be; return the exit code and what is said."""
    code = operator.main(
        ["gate", "model-registry", str(port), "--control", "2", "--legacy", "http://127.0.0.1:1",
         "--unified", "http://127.0.0.1:1", "--tree", str(tmp_path), *words]
    )  # fmt: skip
    said = capsys.readouterr()
    assert said.out == ""
    return code, said.err


def test_without_haproxy_the_package_and_the_own_proxy_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(haproxy, "_BESIDE_PATH", ())
    code, said = told(capsys, tmp_path, "--by", "haproxy")
    assert code == 1
    assert said == (
        "error: there is no haproxy here: install Debian's package haproxy, on Linux; or leave --by"
        " away, and the gate's own proxy stands there\n"
    )


def test_a_folder_for_its_socket_that_others_can_open_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"devflow-gate-{os.geteuid()}"
    folder.mkdir(mode=0o755)
    with pytest.raises(haproxy.ValveError, match="is not a folder of yours that is closed"):
        haproxy._private_folder()
    folder.chmod(0o700)
    assert haproxy._private_folder() == folder


def test_a_port_that_is_taken_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(LEGACY) as url:
        code, said = told(capsys, tmp_path, port=int(url.rpartition(":")[2]))
    assert code == 1
    assert said.startswith("error: nobody can listen on port ")
    assert len(said.splitlines()) == 1


def test_a_template_is_haproxys_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = told(capsys, tmp_path, "--template", str(haproxy.TEMPLATE))
    assert (code, said.count("\n")) == (1, 1)
    assert "goes with --by haproxy" in said
