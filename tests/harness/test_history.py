"""The log of a load: appended line by line, read back whole, and refused by the line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import BadInputError, EnvironmentFaultError
from harness.history import Log, Mark, Operation, Start, read_history, told

INVOKE = Operation("invoke", 0, 3, "database-manager", "create", 5, "task", "a", "v1")
OK = Operation(
    "ok", 0, 3, "database-manager", "create", 9, status=201, acknowledged="a", saw=(("a", "v1"),)
)


def begun(folder: Path) -> Log:
    return Log.begin(folder / "log.jsonl", prefix="load1-", seed=1, services=["database-manager"])


def appended(folder: Path, *lines: object) -> Path:
    log = begun(folder)
    with log.path.open("a") as file:
        file.writelines((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
    return log.path


def test_what_is_appended_is_read_back_as_a_call(tmp_path: Path) -> None:
    log = begun(tmp_path)
    log.append(INVOKE)
    log.append(OK)
    at_ns = log.mark("hold", "by hand")
    history = read_history(log.path)
    (call,) = history.calls
    assert (call.key, call.value, call.began_ns, call.ended_ns) == ("a", "v1", 5, 9)
    assert (call.type, call.status, call.acknowledged) == ("ok", 201, "a")
    assert call.saw == (("a", "v1"),)
    assert call.wrote
    assert history.marks == (Mark("hold", at_ns, "by hand"),)
    assert (history.start.prefix, history.start.services) == ("load1-", ("database-manager",))


def test_an_operation_without_an_end_is_indefinite(tmp_path: Path) -> None:
    log = begun(tmp_path)
    log.append(INVOKE)
    (call,) = read_history(log.path).calls
    assert (call.type, call.ended_ns, call.wrote) == ("info", None, False)


def test_two_writers_share_one_log_and_its_clock(tmp_path: Path) -> None:
    first = begun(tmp_path)
    second = Log.join(first.path)
    before = first.now_ns()
    assert before <= second.now_ns() <= first.now_ns()
    first.append(INVOKE)
    second.mark("switch")
    first.append(OK)
    history = read_history(first.path)
    assert len(history.calls) == len(history.marks) == 1


def test_a_killed_writer_leaves_every_line_that_it_wrote(tmp_path: Path) -> None:
    log = begun(tmp_path)
    program = (
        "import os, sys; from pathlib import Path; from harness.history import Log\n"
        "log = Log.join(Path(sys.argv[1]))\n"
        "for number in range(500): log.mark(str(number))\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    done = subprocess.run([sys.executable, "-c", program, str(log.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [mark.mark for mark in read_history(log.path).marks] == list(map(str, range(500)))


def test_half_a_line_at_the_end_is_left_out_and_told(tmp_path: Path) -> None:
    log = begun(tmp_path)
    log.append(INVOKE)
    with log.path.open("a") as file:
        file.write('{"type":"ok","num')
    history = read_history(log.path)
    assert history.torn
    assert [call.type for call in history.calls] == ["info"]


INVOKED = {"type": "invoke", "number": 0, "client": 1, "service": "s", "kind": "read", "at_ns": 1}
ENDED = {**INVOKED, "type": "ok", "at_ns": 2}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["{"], "line 2: it is no JSON"),
        ([[1]], "line 2: it is no JSON object"),
        ([{"type": "ok"}], "line 2: `at_ns` must be a whole number"),
        ([{"mark": "hold", "at_ns": 1, "when": 2}], "line 2: a mark has"),
        ([{**INVOKED, "type": "done"}], "`type` is 'done'; it must be one of fail, info,"),
        ([{**INVOKED, "kind": "upsert"}], "`kind` is 'upsert'"),
        ([{**INVOKED, "client": "1"}], "`client` is missing, or no number"),
        ([{**INVOKED, "keys": "a"}], "`keys` is unknown"),
        ([{**INVOKED, "key": 3}], "`key` or `saw` is malformed"),
        ([INVOKED, {**ENDED, "saw": [1]}], "line 3: `key` or `saw` is malformed"),
        ([ENDED], "line 2: operation 0 ends and never began"),
        ([INVOKED, ENDED, ENDED], "line 4: operation 0 ends a second time"),
        ([INVOKED, INVOKED], "line 3: operation 0 begins a second time"),
        ([INVOKED, {**ENDED, "client": 2}], "line 3: operation 0 ends as another one's"),
        ([INVOKED, {**ENDED, "at_ns": 0}], "line 3: operation 0 ends before it began"),
    ],
)
def test_a_malformed_record_is_named_by_its_line(
    tmp_path: Path, lines: list[object], says: str
) -> None:
    path = appended(tmp_path, *lines)
    with pytest.raises(BadInputError) as raised:
        read_history(path)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_no_history_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for content in ("", "{}\n", "words\n", "[1]\n"):
        path.write_text(content)
        with pytest.raises(BadInputError, match="it does not begin a history"):
            read_history(path)
    path.write_text(json.dumps({**begun(tmp_path / "x").start._asdict(), "history": 2}) + "\n")
    with pytest.raises(BadInputError, match="it is of format 2"):
        read_history(path)


def test_a_history_is_never_written_over(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(BadInputError, match="a history is never written over"):
        begun(tmp_path)


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match="give the log another place"):
        Log.begin(Path(os.devnull) / "log.jsonl")


def test_a_full_disk_is_one_sentence() -> None:
    log = Log(Path("/dev/full"), Start(1, 0, "", "", 0))
    with pytest.raises(EnvironmentFaultError, match="cannot be appended to"):
        log.mark("hold")


def test_long_values_are_told_by_a_digest_and_short_ones_as_they_are() -> None:
    long = "k v1 " + "words " * 40
    assert told("k v1") == "k v1"
    assert told(long) != told(long + ".")
    assert len(told(long)) < 64
