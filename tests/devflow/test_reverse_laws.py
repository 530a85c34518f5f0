"""Laws of the way back: whatever services write, the old databases and the sidecar have it all."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from devflow_tree import DATABASES, REPOSITORY, LegacyTree
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reversing import Reversed, Writer, migrated_again, seen
from test_reverse import EVERYTHING, build

_LIMITS = st.sampled_from([1, 3, 10, None])
_SETTINGS = settings(
    max_examples=6, deadline=None, database=None, derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # to shrink a migration takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture(scope="module", params=["partially-migrated", "real-like", "every-hazard"])
def migrated(request: pytest.FixtureRequest, module_path: Path) -> LegacyTree:
    """A tree and, beside it, the same as it was before its migration."""
    profile = "real-like" if request.param == "every-hazard" else request.param
    hazards = EVERYTHING if request.param == "every-hazard" else []
    tree = build(profile, module_path / str(request.param), *hazards)
    tree.copy(module_path / f"{request.param}-before")
    with pytest.MonkeyPatch.context() as patch:  # as each test's own, which comes too late here
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        tree.apply()
    return tree


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def begun(migrated: LegacyTree, folder: Path) -> Reversed:
    """Return the migrated tree, with its writes noted, in a folder of its own."""
    before = LegacyTree(migrated.directory.with_name(f"{migrated.directory.name}-before"))
    return Reversed(migrated.copy(folder / "migrated"), folder, before=before)


@given(data=st.data())
@_SETTINGS
def test_what_was_written_is_there_after_going_back_and_migrating_again(
    migrated: LegacyTree, room: Path, data: st.DataObject
) -> None:
    folder = Path(tempfile.mkdtemp(dir=room))
    with closing(begun(migrated, folder)) as found:
        writer = Writer(found, lambda several: data.draw(st.sampled_from(several)))
        for _ in range(data.draw(st.integers(1, 15))):
            writer.write()
            if data.draw(st.booleans()):
                found.drain(data.draw(_LIMITS))
        limit = data.draw(_LIMITS)
        while found.drain(limit).behind:
            pass
        settled = found.states()
        found.drain()
        assert found.states() == settled, "a drain of nothing changed something"
        found.forget()
        assert seen(found.unified) == seen(migrated_again(found, folder / "again")), writer.told
    shutil.rmtree(folder)


@given(data=st.data())
@_SETTINGS
def test_drained_in_any_pieces_and_over_again_it_comes_to_the_same(
    migrated: LegacyTree, room: Path, data: st.DataObject
) -> None:
    folder = Path(tempfile.mkdtemp(dir=room))
    with closing(begun(migrated, folder)) as found:
        writer = Writer(found, lambda several: data.draw(st.sampled_from(several)))
        for _ in range(data.draw(st.integers(1, 15))):
            writer.write()
        pieces = data.draw(st.lists(st.sampled_from([1, 2, 5]), max_size=8))
        for limit in pieces:
            with found.connections() as (legacy, sidecar):
                some = data.draw(st.sets(st.sampled_from(sorted(legacy))))
                found.drain_some(legacy, sidecar, limit, some)
        while found.drain(7).behind:
            pass
        found.forget()
        in_pieces = found.rows_back()
        found.begin_again()
        found.drain()
        found.forget()
        assert found.rows_back() == in_pieces, writer.told
    shutil.rmtree(folder)


# Killed -------------------------------------------------------------------------------------------

_DRAINING = """
import sys, apsw
from devflow.live import reverse
unified, sidecar, *pairs = sys.argv[1:]
opened = {name: apsw.Connection(path) for name, path in (pair.split("=", 1) for pair in pairs)}
print("draining", flush=True)
while reverse.drain(
    apsw.Connection(unified), opened, sidecar=apsw.Connection(sidecar), limit_rows=3
).behind:
    pass
print("done", flush=True)
"""


def drained_by_a_process(found: Reversed, *, killed_after_s: float) -> bool:
    """Drain in a process, and kill it after a while; return whether it was done before that."""
    paths = {name: found.back.path(name) for name in DATABASES}
    child = subprocess.Popen(
        [
            *(sys.executable, "-c", _DRAINING, str(found.migrated.root), str(found.sidecar)),
            *(f"{name}={path}" for name, path in paths.items()),
        ],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"draining\n"
    try:
        child.wait(killed_after_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    with child.stdout:
        return child.stdout.read() == b"done\n"


def test_killed_at_any_moment_a_drain_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    chance = random.Random(4)
    with closing(Reversed(build("partially-migrated", tmp_path / "tree"), tmp_path)) as found:
        writer = Writer(found, chance.choice)
        for _ in range(120):
            writer.write()
        killed, after_s = 0, 0.01
        while not drained_by_a_process(found, killed_after_s=after_s):
            killed, after_s = killed + 1, after_s * 1.5
        assert killed >= 3
        assert found.drain().behind == 0
        found.forget()
        cut_off = found.rows_back()
        found.begin_again()
        found.drain()
        found.forget()
        assert found.rows_back() == cut_off
