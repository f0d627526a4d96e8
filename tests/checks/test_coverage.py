"""The collection against its plan."""

import re
from pathlib import Path

import pytest

from components import checks
from components.contracts import EpisodeSummary, Settings
from components.contracts.errors import ConfigurationError
from components.storage import FolderStore
from tests.checks.test_colours import episode


def recorded(number: int, **changes: object) -> EpisodeSummary:
    told = {"scenario": "1box_vert_left", "pattern": "core", "distance": "close", "position": "left"}
    return episode(number, None, **(told | changes))


def test_shipped_plan_is_the_default_and_wants_432_episodes() -> None:
    plan = checks.read_plan(checks.PLAN_DEFAULTS)
    assert plan == checks.CollectionPlan()
    assert (len(plan.cells()), sum(plan.cells().values())) == (144, 432)


def test_what_is_missing_most_is_recorded_next() -> None:
    plan = checks.CollectionPlan()
    found = checks.coverage([recorded(number) for number in range(5)], plan)
    assert (found.filled, found.wanted, found.episodes) == (4, 432, 5)  # the fifth is beyond its target of four
    first = found.next(1)[0]
    assert (first.found, first.missing) == (0, 4)
    assert first.cell[1] == "core"
    assert len(found.next(1000)) == 143
    assert ("1box_vert_left", "core", "close", "left") not in [item.cell for item in found.next(1000)]


def test_unknown_parts_fill_nothing_and_are_counted() -> None:
    odd = [
        recorded(1, position=None),
        recorded(2, scenario=None, pattern=None),
        recorded(3, distance=None),
        recorded(4),
    ]
    found = checks.coverage(odd, checks.CollectionPlan())
    assert (found.filled, found.unplaced) == (1, {"distance": 1, "position": 1, "scenario": 1})


def test_axis_that_the_plan_leaves_out_needs_no_value(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        '[axes]\npositions = []\ndistances = ["close"]\n'
        "[targets]\nepisodes = 3\n[targets.weights]\n2box_hori_left = 0\nvariant = 0.5\n"
    )
    plan = checks.read_plan(path)
    cells = plan.cells()
    assert len(cells) == 16
    assert cells["1box_vert_left", "core", "close", None] == 3
    assert cells["1box_vert_left", "variant", "close", None] == 2
    assert cells["2box_hori_left", "core", "close", None] == 0
    found = checks.coverage([recorded(1, position=None), recorded(2, distance="far")], plan)
    assert (found.filled, found.unplaced) == (1, {"distance": 1})


def test_plan_is_found_in_home_and_by_name(tmp_path: Path) -> None:
    (tmp_path / checks.PLAN_FILE).write_text("[targets]\nepisodes = 9\n")
    assert checks.load_plan(Settings(home=tmp_path)).targets.episodes == 9
    other = tmp_path / "other.toml"
    other.write_text("[targets]\nepisodes = 7\n")
    assert checks.load_plan(Settings(home=tmp_path, collection_plan=other)).targets.episodes == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[axes]\nscenarios = ['3box']", "3box"),
        ("[axes]\ndistances = ['far', 'far']", "each once"),
        ("[axes]\ncolours = []", "colours"),
        ("[targets]\nepisodes = 0", "greater than or equal to 1"),
        ("[targets]\nepisodes = 1.5", "integer"),
        ("[targets.weights]\nkore = 2", "kore"),
        ("[targets.weights]\ncore = -1", "greater than or equal to 0"),
        ("[plan]\nx = 1", "expected the tables"),
    ],
)
def test_mistake_in_the_plan_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        checks.read_plan(path)
    assert str(path) in str(caught.value)


def test_heat_map_shows_every_combination_offline(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    found = checks.coverage([recorded(1), recorded(2, position=None)], checks.CollectionPlan())
    assert checks.keep_coverage(store, found).uri == "s3://reports/coverage/index.html"
    page = store.get("reports", "coverage/index.html").decode()
    assert len(re.findall(r"<td class=\"[a-z]*\" style", page)) == 144
    assert "1/4" in page
    assert "1 fill nothing because their position" in page
    assert re.findall(r"https?://|<script", page) == []


def test_heat_map_of_a_plan_with_one_axis(tmp_path: Path) -> None:
    plan = checks.CollectionPlan.model_validate({"axes": {"patterns": [], "distances": [], "positions": []}})
    found = checks.coverage([recorded(1, pattern=None, distance=None, position=None)], plan)
    checks.keep_coverage(FolderStore(tmp_path), found)
    assert found.filled == 1


def test_default_file_is_never_written_over(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "plan.toml"
    checks.write_default(checks.PLAN_DEFAULTS, target)
    assert checks.read_plan(target) == checks.CollectionPlan()
    with pytest.raises(FileExistsError):
        checks.write_default(checks.PLAN_DEFAULTS, target)
