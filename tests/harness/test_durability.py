"""The durability checker: silent where what is acknowledged stays, and loud where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from notes import notes_database, notes_service

from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.checkers.durability import check
from harness.checkers.evidence import Evidence
from harness.checkers.writes import recipes
from harness.errors import BadInputError
from harness.fixture.folder import fixtures_folder
from harness.mapping import Mapping
from harness.model import CheckResult, Verdict
from harness.scenario import Trial
from harness.snapshot import Snapshot

WRITE = {
    "post": "/v2/notes",
    "body": {"id": "{id}", "text": "{words}"},
    "read": "/v2/notes/{id}",
    "same": ["id", "text"],
    "parts": [
        "SELECT count(*) FROM notes WHERE id = :id AND text = :words",
        "SELECT count(*) FROM marks WHERE note = :id",
    ],
}


def recipe(folder: Path, **more: object) -> Path:
    folder.mkdir(parents=True)
    document = {"service": "notes", "writes": [WRITE], "stays": ["/v2/notes?limit=100"]} | more
    (folder / "notes.yaml").write_text(yaml.safe_dump(document))
    return folder


def judged(
    folder: Path, *, fault: str = "", writes: int = 150, kills: int = 3, **more: object
) -> CheckResult:
    tree = folder / "tree"
    notes_database(tree / "devflow.sqlite")
    evidence = Evidence(
        before=Snapshot.of(tree),
        mapping=Mapping.load(DEFAULT_MANIFEST.parent / "mapping.yaml"),
        tree=tree,
        services=(notes_service(fault=fault),),
        trial=Trial(checks=("durability",), writes=writes, kills=kills),
        work=folder / "work",
    )
    more = {"writes" if name == "given" else name: value for name, value in more.items()}
    return check(evidence, recipe(folder / "writes", **more))


def test_a_service_that_commits_before_it_answers_is_valid(tmp_path: Path) -> None:
    result = judged(tmp_path)
    assert not result.findings
    assert result.verdict is Verdict.VALID
    assert result.examined["notes acknowledged writes"] >= 150
    assert result.examined["kills"] == 4


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("acknowledges-early", "durability/lost"),
        ("forgets", "durability/not-read"),
        ("keeps-half", "durability/lost"),
        ("shouts", "durability/not-read"),
        ("commits-in-between", "durability/half"),
        ("forgets-what-it-showed", "durability/forgotten"),
    ],
)
def test_each_way_of_losing_writes_is_found(tmp_path: Path, fault: str, rule: str) -> None:
    result = judged(tmp_path, fault=fault)
    assert result.verdict is Verdict.INVALID
    assert rule in {finding.rule for finding in result.findings}


def test_a_service_without_a_recipe_is_unknown_and_not_valid(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    notes_database(tree / "devflow.sqlite")
    evidence = Evidence(
        before=Snapshot.of(tree),
        mapping=Mapping.load(DEFAULT_MANIFEST.parent / "mapping.yaml"),
        tree=tree,
        services=(notes_service(),),
        work=tmp_path / "work",
    )
    assert check(evidence).verdict is Verdict.UNKNOWN


def test_what_a_recipe_puts_in_before_is_there_and_its_end_is_looked_at(tmp_path: Path) -> None:
    holds = ["INSERT INTO notes VALUES ('held', 'before')"]
    then = ["SELECT count(*) FROM notes WHERE id = 'held'", "SELECT count(*) = 9 FROM notes"]
    result = judged(tmp_path, writes=30, kills=1, holds=holds, then=then)
    assert [finding.rule for finding in result.findings] == ["durability/not-done"]
    assert then[1] in result.findings[0].cause
    assert result.examined["kills"] == 2


def test_what_belongs_before_a_write_is_sent_before_it(tmp_path: Path) -> None:
    first = [{"post": "/v2/notes", "body": {"id": "{id}-first", "text": "first"}}]
    parts = [*WRITE["parts"], "SELECT count(*) FROM notes WHERE id = :id || '-first'"]
    writes = [{**WRITE, "first": first, "parts": parts}]
    result = judged(tmp_path, writes=30, kills=1, given=writes)
    assert not [f for f in result.findings if f.rule == "durability/lost"]
    assert result.examined["notes acknowledged writes"] >= 30


def test_sql_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"`holds` puts in before does not fit: .*no such table"
    ):
        judged(tmp_path, holds=["INSERT INTO nowhere VALUES (1)"])


def test_every_recipe_is_for_a_service_of_the_default_candidate() -> None:
    names = {service.name for service in Candidate.load().services}
    assert set(recipes(fixtures_folder() / "writes")) <= names


@pytest.mark.parametrize(
    ("write", "says"),
    [
        ({"post": "/x", "parts": ["SELECT 1"], "first": [{"get": "/y"}]}, "needs `post`, a path"),
        (
            {"post": "/x", "parts": ["SELECT 1"], "first": [{"post": "/y", "reed": 1}]},
            "unknown key 'reed'",
        ),
        ({"put": "/x"}, "unknown key 'put'"),
        ({"post": "/x"}, "needs `post`, a path, and `parts`"),
        (3, "must be a mapping"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(tmp_path: Path, write: object, says: str) -> None:
    with pytest.raises(BadInputError) as raised:
        recipes(recipe(tmp_path / "writes", writes=[write]))
    assert says in str(raised.value)
