"""The page shows what the report says, fetches nothing and runs nothing."""

import base64
import html.parser
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from components.contracts import (
    BASELINES,
    FIRST_FRAME_WARNING,
    UNSHIFTED,
    Ensemble,
    EvaluationReport,
    Leak,
    LeakCheck,
    printable,
)
from components.evaluation.page import failures, render
from components.simulation import SHIFTS
from tests.evaluation.sample_report import full_material, full_outcomes, full_report
from tests.terminal.hostile import HOSTILE, SHOWN

pytestmark = pytest.mark.long


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
    sources = [value for name, value in page.attributes if name in {"src", "srcset"}]
    assert sources
    assert all(value.startswith("data:image/") for value in sources)
    links = [value for name, value in page.attributes if name == "href"]
    anchors = {value for name, value in page.attributes if name == "id"}
    assert {link.removeprefix("#") for link in links} <= anchors


def test_page_says_the_verdict_before_the_figures(world):
    here = world()
    text = _Page(here.page(here.report())).text
    assert "ensemble beats all four baselines" in text
    assert text.index("beats all four") < text.index("Leaderboard")
    assert all(name in text for name in BASELINES)


def test_page_of_a_policy_that_loses_says_so(world, policies):
    here = world(drivers={"ensemble": policies["blind"], "mlp": policies["blind"]})
    text = _Page(here.page(here.report())).text
    assert "Not shown: that ensemble beats constant, median-per-step" in text
    assert "Not shown to look" in text
    assert "Worse than" in text or "Not told apart from" in text


def test_instruction_with_markup_is_shown_and_not_run(world):
    here = world()
    hostile = '<script>alert(1)</script><img src="https://example.com/x" onerror="alert(2)"> {{ 7*7 }} left'
    here.episodes[0] = replace(here.episodes[0], instruction=hostile, name="<b>x", scenario=None)
    page = _Page(here.page(here.report()))
    assert hostile in page.text
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert not [value for _, value in page.attributes if "example.com" in str(value)]


def test_names_of_policies_with_markup_and_control_characters_are_text(whole):
    document = full_report().model_dump_json().replace('"mlp"', json.dumps(HOSTILE))
    document = document.replace(f'"head":{json.dumps(HOSTILE)}', '"head":"mlp"')
    fields = json.loads(document)
    fields["subject_digest"] = Ensemble.model_validate(fields["inputs"]["ensemble"]).digest()
    text = render(EvaluationReport.parse(json.dumps(fields), source="a test"), full_material()).decode()
    page = _Page(text)
    assert SHOWN in page.text
    assert page.tags == whole[1].tags
    assert [name for name, _ in page.attributes] == [name for name, _ in whole[1].attributes]
    assert all(printable(line) == line for line in text.split("\n"))


def test_scenario_with_formula_marks_is_drawn_as_text(world):
    here = world()
    here.episodes[:] = [replace(item, scenario="$\\frac{1}<2$") for item in here.episodes]
    here.training[:] = [replace(item, scenario="$\\frac{1}<2$") for item in here.training]
    assert "error by scenario" in here.page(here.report())


def test_page_marks_the_closed_loop_as_simulated(world, policies):
    outcomes = policies["trials"]()
    here = world()
    text = here.page(here.report(outcomes=outcomes, sources=("robot",)), outcomes)
    assert "The closed loop was driven in simulation; all other figures are from recorded frames." in text
    assert re.search(r"<h2 [^>]*>Closed loop <span class=\"badge\">simulated</span></h2>", text)
    assert re.search(r"<h2 [^>]*>Leaderboard</h2>", text)


def test_page_of_simulated_frames_marks_every_section():
    text = render(full_report(), full_material(())).decode()
    assert "every figure on this page is simulated" in text
    headings = re.findall(r"<h2 id=.*?</h2>", text)
    assert headings
    assert all("badge" in heading or "verdict" in heading or "come from" in heading for heading in headings)


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
    assert len([1 for name, value in page.attributes if name == "src" and "image/webp" in value]) == 10


@pytest.fixture(scope="module")
def whole():
    """The page of a report with everything in it, and its parts."""
    text = render(full_report(), full_material()).decode()
    return text, _Page(text)


def test_page_of_a_whole_report_is_light_and_the_same_again(whole):
    text, _ = whole
    assert len(text) < 3 * 2**20
    assert render(full_report(), full_material()).decode() == text


def test_parts_come_in_the_order_of_what_decides(whole):
    titles = re.findall(r"<h2 id=\"([a-z]+)\"", whole[0])
    assert titles == [
        "verdict", "leaderboard", "protocols", "errors", "keys", "curves", "certainty", "senses", "frames", "driving",
        "shifts", "origin",
    ]  # fmt: skip


def test_every_picture_has_words_and_every_table_a_caption_and_scopes(whole):
    text, page = whole
    images = re.findall(r"<img[^>]*>", text)
    assert all(re.search(r'alt="[^"]{5,}"', image) for image in images)
    assert page.tags.count("table") == page.tags.count("caption")
    assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*", text))


def test_first_frame_figures_carry_their_warning(whole):
    assert FIRST_FRAME_WARNING in whole[1].text


def test_failures_move_and_stand_still_for_those_who_ask(whole):
    text, _ = whole
    films = re.findall(
        r'<source media="\(prefers-reduced-motion: reduce\)" srcset="data:image/webp;base64,([^"]+)">'
        r'<img alt="[^"]+" src="data:image/webp;base64,([^"]+)">',
        text,
    )
    assert len(films) == 4
    for still, moving in films:
        assert Image.open(io.BytesIO(base64.b64decode(still))).n_frames == 1
        assert Image.open(io.BytesIO(base64.b64decode(moving))).n_frames > 1


def test_failures_are_chosen_by_rule_one_of_each_kind_first():
    outcomes = full_outcomes()
    shown = failures(outcomes, "ensemble")
    assert not any(item.success or item.policy != "ensemble" for item in shown)
    plain = [item for item in outcomes if item.policy == "ensemble" and item.shift == UNSHIFTED and not item.success]
    assert shown[0] == plain[0]
    assert {item.shift for item in shown} > {UNSHIFTED}


def test_shift_without_loss_is_not_called_one():
    outcomes = [item for item in full_outcomes() if item.shift == UNSHIFTED]
    same = [
        item.model_copy(update={"shift": shift.name})
        for shift in SHIFTS[::3]
        for item in outcomes
        if item.policy == "ensemble" and item.seed < 10**9 + 16
    ]
    text = _Page(render(full_report(outcomes=(*outcomes, *same)), full_material(())).decode()).text
    assert f"No loss of success shown under {len(SHIFTS[::3])} changes" in text


def test_leak_is_the_headline():
    leak = Leak(test="1" * 64, train="2" * 64, how="near-duplicate", observed="17 of 18 frames are the same")
    report = full_report(leaks=LeakCheck(test_episodes=16, other_episodes=64, leaks=(leak,)))
    text = _Page(render(report, full_material(())).decode()).text
    assert "Not to be trusted: 1 of 16 test episodes were seen in training." in text
    assert "17 of 18 frames are the same" in text


def test_interval_that_holds_zero_is_never_called_better():
    report = full_report(error=0.11)  # 0.005 better than the incumbent, give or take 0.02
    text = _Page(render(report, full_material(())).decode()).text
    assert "Not told apart from the incumbent on the same frames: MAE lower by +0.005 [-0.015, +0.025]" in text
    assert "Better than the incumbent" not in text


def test_page_names_how_to_make_its_figures_again(whole):
    assert f"drover rebuild {full_report().digest()[:12]}" in whole[1].text
