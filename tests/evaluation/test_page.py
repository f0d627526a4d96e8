"""The page shows what the report says, fetches nothing and runs nothing."""

import html.parser
import re
from dataclasses import replace

import numpy as np
import pytest

from components.contracts import BASELINES


class _Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_page_fetches_nothing_and_runs_nothing(world, policies):
    outcomes = policies["trials"]()
    here = world()
    page = _Page(here.page(here.report(outcomes=outcomes), outcomes))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in {"src", "href"}]
    assert sources
    assert all(value.startswith("data:image/") for value in sources)


def test_page_says_the_verdict_before_the_figures(world):
    here = world()
    text = _Page(here.page(here.report())).text
    assert "ensemble beats all four baselines" in text
    assert text.index("beats all four") < text.index("Leaderboard")
    assert all(name in text for name in BASELINES)


def test_page_of_a_policy_that_loses_says_so(world, policies):
    here = world(drivers={"ensemble": policies["blind"], "mlp": policies["blind"]})
    text = _Page(here.page(here.report())).text
    assert "ensemble is not shown to beat constant, median-per-step" in text
    assert "the expected rise is not there" in text


def test_instruction_with_markup_is_shown_and_not_run(world):
    here = world()
    hostile = '<script>alert(1)</script><img src="https://example.com/x" onerror="alert(2)"> {{ 7*7 }} left'
    here.episodes[0] = replace(here.episodes[0], instruction=hostile, name="<b>x", scenario=None)
    page = _Page(here.page(here.report()))
    assert hostile in page.text
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert not [value for _, value in page.attributes if "example.com" in str(value)]


def test_scenario_with_formula_marks_is_drawn_as_text(world):
    here = world()
    here.episodes[:] = [replace(item, scenario="$\\frac{1}<2$") for item in here.episodes]
    here.training[:] = [replace(item, scenario="$\\frac{1}<2$") for item in here.training]
    assert "by scenario" in here.page(here.report())


def test_page_marks_the_closed_loop_as_simulated(world, policies):
    outcomes = policies["trials"]()
    here = world()
    text = here.page(here.report(outcomes=outcomes, sources=("robot",)), outcomes)
    assert "The closed loop was driven in simulation; all other figures are from recorded frames." in text
    assert re.search(r"<h2>Closed loop <span class=\"simulated\">simulated</span></h2>", text)
    assert "<h2>Leaderboard</h2>" in text


def test_page_of_simulated_frames_marks_every_section(world, policies):
    here = world()
    text = here.page(here.report(sources=("simulated",)))
    assert "every figure on this page is simulated" in text
    assert '<h2>Leaderboard <span class="simulated">simulated</span></h2>' in text


def test_page_without_closed_loop_says_what_is_missing(world):
    here = world()
    assert "Open-loop error alone does not show that a policy drives." in here.page(here.report())


def test_page_of_two_episodes_warns(world):
    here = world(2)
    text = _Page(here.page(here.report())).text
    assert "Only 2 test episodes" in text


def test_page_of_continuous_actions_has_no_keys(world):
    def lagging(episodes):
        return [item.actions * np.float32(0.9) for item in episodes]

    here = world(axes=("linear_x", "angular_z"), keys=False, drivers={"ensemble": lagging, "mlp": lagging})
    rng = np.random.default_rng(0)
    for part in (here.episodes, here.training):
        part[:] = [
            replace(item, actions=rng.uniform(-1, 1, (18, 3)).astype(np.float32), scenario=None, instruction="follow")
            for item in part
        ]
    report = here.report()
    text = here.page(report)
    assert all(score.macro_f1 is None for score in report.scores)
    assert "Actions are continuous" in text
    assert "there is nothing to swap" in text
    assert "Driven and predicted" in text


def test_equal_reports_give_equal_pages(world, policies):
    outcomes = policies["trials"]()
    here = world()
    report = here.report(outcomes=outcomes)
    assert here.page(report, outcomes) == here.page(report, outcomes)


@pytest.mark.parametrize("n", [2, 12])
def test_ten_frames_are_shown_right_or_wrong(world, n):
    here = world(n)
    page = _Page(here.page(here.report()))
    assert page.text.count("driven ") - page.text.count("operator drove") >= 10
    assert len([1 for name, value in page.attributes if name == "src" and "image/png" in value]) == 10
