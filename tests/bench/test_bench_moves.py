"""What moving services costs is measured on a run that was judged, and told in one table."""

from __future__ import annotations

import pytest

from bench import moves


def test_services_that_really_move_give_a_row_of_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "LOADS", (moves.Pace(100.0, straight=True),))
    told: list[str] = []
    (row,) = found = moves.measure_moves(rounds=1, seed=1, say=told.append)
    assert told == ["moved services, 100 a second, others past the gates"]
    assert (row["failed"], row["holds"]) == (0, 6)
    assert row["requests"] > 100
    assert 0 < row["gap_ms_median"] <= row["gap_ms_p99"]
    assert 0 < row["locked_ms_median"] <= row["locked_ms_p99"]
    assert row["written_per_s"] > 50, "others write as fast as is sensible while services move"
    *_, last = moves.move_lines(found)
    assert (
        last.split()[:8]
        == "100 a second, others past the gates {}".format(f"{row['requests']:,}").split()
    )
    assert last.split()[8:11] == ["0", f"{row['written_per_s']:,.0f}", "6"]
