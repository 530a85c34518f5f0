from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.errors import BadInputError
from harness.fixture.recipe import Recipe
from harness.model import Verdict
from harness.mutant import DEFINITIONS, Edit, Mutant, load_mutants, plant
from harness.mutants import Judged, MutantsResult, matrix_text, run_mutants
from harness.scenario import Fault

PACKAGE = DEFAULT_MANIFEST.parent
MUTANTS = load_mutants()


def definition(**changes: object) -> dict[str, object]:
    return {
        "name": "one",
        "breaks": "Something.",
        "file": "migration/errors.py",
        "find": "class MigrationError",
        "replace": "class  MigrationError",
    } | changes


def loaded(folder: Path, *definitions: object) -> tuple[Mutant, ...]:
    (folder / "some.yaml").write_text(yaml.safe_dump(list(definitions)))
    return load_mutants(folder)


def judged(name: str, *checks: str) -> Judged:
    edit = Edit(file="a", find="b", replace="c")
    mutant = Mutant(name=name, breaks="It.", edits=(edit,), defined_in=Path("x.yaml"))
    return Judged(mutant=mutant, caught=dict.fromkeys(checks, ()), digest=None, elapsed_s=0.5)


def test_there_are_at_least_forty_mutants_and_each_says_what_it_breaks() -> None:
    assert len(MUTANTS) >= 40
    assert all(mutant.breaks.endswith(".") for mutant in MUTANTS)


def test_at_least_fifteen_mutants_are_of_services_and_each_service_that_writes_has_one() -> None:
    services = [m for m in MUTANTS if m.trial is not None]
    assert len(services) >= 15
    tried = {name for m in services if m.trial for name in m.trial.only}
    assert tried >= {
        "costs", "database-manager", "knowledge", "model-registry", "routing", "vector-memory",
    }  # fmt: skip


def test_at_least_twenty_mutants_are_of_the_live_migration_and_share_few_stories() -> None:
    live = [mutant for mutant in MUTANTS if mutant.live is not None]
    assert len(live) >= 20
    assert len({mutant.story for mutant in live}) <= 3


def test_a_mutant_may_migrate_live_while_it_is_harmed(tmp_path: Path) -> None:
    (one,) = loaded(tmp_path, definition(live={"faults": [{"kill": "gate", "at": ["cutover"]}]}))
    assert one.live is not None
    assert one.live.faults == (Fault(harm="kill", target="gate", at=("cutover",)),)
    for wrong, said in (
        ({"kill": "gate", "when": ["after"]}, "live.faults.0: only a migration can be killed"),
        ({"kill": "gate", "stop": "gate"}, "live.faults.0: a fault is exactly one of"),
        ({"harm": "gate"}, "live.faults.0: "),
    ):
        with pytest.raises(BadInputError, match=said):
            loaded(tmp_path, definition(live={"faults": [wrong]}))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_definition_still_fits_the_candidate(mutant: Mutant, tmp_path: Path) -> None:
    assert plant(mutant, PACKAGE, tmp_path).is_file()


@pytest.mark.parametrize("fixture", sorted({mutant.fixture for mutant in MUTANTS}))
def test_the_fixture_that_mutants_are_played_on_has_a_recipe(fixture: str) -> None:
    assert Recipe.load(DEFINITIONS / f"fixture-{fixture}.yaml").hazards


def test_a_planted_mutant_is_what_runs(tmp_path: Path) -> None:
    text = 'EXIT_UNCHANGED, EXIT_INDEFINITE = 1, 3\nprint("broken on purpose")\n'
    edit = Edit(
        file="migration/__main__.py",
        find="EXIT_UNCHANGED, EXIT_INDEFINITE = 1, 3\n",
        replace=text,
    )
    mutant = Mutant(name="loud", breaks="It.", edits=(edit,), defined_in=Path(__file__))
    outcome = Candidate.load(plant(mutant, PACKAGE, tmp_path / "planted")).status(tmp_path)
    assert any(v.actual == "broken on purpose" for v in outcome.violations)


def test_the_candidate_itself_is_left_alone(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in PACKAGE.rglob("*.py")}
    plant(MUTANTS[0], PACKAGE, tmp_path)
    assert {path: path.read_bytes() for path in PACKAGE.rglob("*.py")} == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"find": "no such text"}, "`no such text` stands 0 times"),
        ({"find": "e", "replace": "f"}, "times in migration/errors.py, not once"),
        ({"file": "migration/gone.py"}, "the candidate has no file migration/gone.py"),
        ({"replace": "klass MigrationError"}, "is no program"),
    ],
)
def test_a_stale_definition_is_an_error_with_its_place(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    (mutant,) = loaded(tmp_path, definition(**changes))
    with pytest.raises(BadInputError, match=r"some\.yaml: mutant `one`") as error:
        plant(mutant, PACKAGE, tmp_path / "planted")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replace": "class MigrationError"}, "is no mutant"),
        ({"breaks": 7}, "needs the text `breaks`"),
        ({"fixtur": "default"}, "did you mean 'fixture'"),
        ({"also": [{"file": "x"}]}, "needs the text `find`"),
        ({"live": {"rate": 0}}, "live.rate: 0 is less than or equal to the minimum of 0"),
    ],
)
def test_a_definition_that_is_none_is_an_error(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError) as error:
        loaded(tmp_path, definition(**changes))
    assert said in str(error.value)


def test_two_mutants_of_one_name_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is defined in"):
        loaded(tmp_path, definition(), definition())


def test_no_mutants_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no mutants"):
        load_mutants(tmp_path)


def test_the_matrix_puts_survivors_first_and_gives_the_rate() -> None:
    result = MutantsResult(
        judged=(judged("caught", "rows", "ledger"), judged("sly")), elapsed_s=1.0
    )
    lines = matrix_text(result).splitlines()
    assert lines[0].split() == ["mutant", "rows", "ledger"]
    assert lines[1].startswith("sly")
    assert "SURVIVED: It." in lines[1]
    assert lines[-1] == "1 of 2 mutants caught (50%)"
    assert result.verdict is Verdict.INVALID
    assert (result.killed, result.survived, result.rate) == (("caught",), ("sly",), 0.5)


def test_of_the_mutants_that_migrate_live_some_are_drawn_and_the_matrix_says_of_how_many(
    tmp_path: Path,
) -> None:
    shutil.copy(DEFINITIONS / "fixture-light.yaml", tmp_path / "fixture-light.yaml")
    live = [definition(name=f"live-{n}", live={}, fixture="light") for n in range(5)]
    resting = definition(name="resting", fixture="light")
    loaded(tmp_path, resting, *live)
    result = run_mutants(tmp_path, out=tmp_path / "out", live_max=0, processes=1)
    assert [one.mutant.name for one in result.judged] == ["resting"]
    assert matrix_text(result).splitlines()[-1] == "0 of 1 mutants caught (0%), of 6 defined"
    assert result.matrix.defined == 6


def test_a_mutant_is_caught_and_one_that_changes_nothing_survives(tmp_path: Path) -> None:
    shutil.copy(DEFINITIONS / "fixture-default.yaml", tmp_path / "fixture-default.yaml")
    recipe = yaml.safe_load((tmp_path / "fixture-default.yaml").read_text())
    (tmp_path / "fixture-default.yaml").write_text(yaml.safe_dump(recipe | {"hazards": []}))
    lost = next(mutant for mutant in MUTANTS if mutant.name == "last-row-dropped")
    first, *also = ({"file": e.file, "find": e.find, "replace": e.replace} for e in lost.edits)
    loaded(
        tmp_path,
        definition(name="loses-rows", also=also) | first,
        definition(name="does-nothing"),
    )
    result = run_mutants(tmp_path, out=tmp_path / "out", processes=1)
    assert result.killed == ("loses-rows",)
    assert result.survived == ("does-nothing",)
    assert "rows" in result.judged[0].caught
    assert (tmp_path / "out" / "mutants.txt").read_text() == matrix_text(result)


def test_mutants_cannot_be_judged_where_the_candidate_itself_is_broken(tmp_path: Path) -> None:
    lost = next(mutant for mutant in MUTANTS if mutant.name == "last-row-dropped")
    manifest = plant(replace(lost, name="broken"), PACKAGE, tmp_path / "broken")
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "fixture-default.yaml").write_text("profile: real-like\n")
    loaded(folder, definition())
    with pytest.raises(BadInputError, match="the unbroken candidate is not valid"):
        run_mutants(folder, out=tmp_path / "out", manifest=manifest, processes=1)


def test_the_command_prints_the_matrix(tmp_path: Path) -> None:
    command = ["-m", "harness", "mutants", "--only", "last-row-dropped", "--out", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=PACKAGE.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stderr
    assert "1 of 1 mutants caught (100%)" in ran.stdout
