"""The demo's result: its published schema is its type's, and its table names what was found."""

import io
import json
from pathlib import Path

from components.contracts import DRIVERS, ShiftEffect
from components.terminal import Console
from infra._demo_result import (
    AblationRow,
    ClosedLoopRow,
    DatasetCounts,
    DemoResult,
    EpisodeCounts,
    Figure,
    LeakRow,
    PolicyRow,
    PromotionRow,
    QuarantinedEpisode,
    RobotRow,
    ShiftRow,
    ablation_rows,
    closed_loop_rows,
    ece,
    leak_row,
    policy_rows,
    worst_shift,
)
from infra._demo_table import show
from tests.reports import estimate, make_report
from tests.terminal.hostile import HOSTILE, SHOWN, assert_plain

SCHEMA = Path(__file__).parents[2] / "docs" / "demo.schema.json"
FIGURE = Figure(value=0.11, low=0.06, high=0.15, n=12)
RESULT = DemoResult(
    wall_s=400,
    peak_rss_mib=4000,
    episodes=EpisodeCounts(uploaded=9, accepted=8, quarantined=(QuarantinedEpisode(name="bad", rule="finite"),)),
    dataset=DatasetCounts(version="a" * 64, train=6, validation=1, test=1, frames=144),
    policies=(
        PolicyRow(name="ensemble", role="ensemble", mae=FIGURE, mae_by_axis={"linear_x": FIGURE}, key_accuracy=FIGURE),
    ),
    closed_loop=(ClosedLoopRow(name="ensemble", success=FIGURE, spl=FIGURE, collisions=FIGURE),),
    simulated=True,
    ablations=(AblationRow(name="blank-images", mae=FIGURE, held=True),),
    leaks=LeakRow(test_episodes=12, other_episodes=116, leaks=0),
    worst_shift=ShiftRow(name="slip", what="30 % slip", loss=FIGURE, suites=10),
    ece=FIGURE,
    package=None,
    endpoint=None,
    promotion=PromotionRow(decision="refused", reasons=("beats-constant: no",)),
    robots=(RobotRow(robot="robot-1", release=None, state="silent"),),
    stages=(),
    links={"report": "http://127.0.0.1:1/report.html"},
)


def test_the_published_schema_is_the_results() -> None:
    assert json.loads(SCHEMA.read_text()) == DemoResult.model_json_schema()


def test_the_table_names_rules_intervals_and_robots_without_a_release() -> None:
    out = io.StringIO()

    show(RESULT, Console(file=out, width=160))

    for word in ("bad: finite", "0.110 [0.060, 0.150]", "refused", "simulated", "silent", "/report.html"):
        assert word in out.getvalue()


def test_the_table_tells_leaks_calibration_and_the_worst_shift_in_a_line_each() -> None:
    out = io.StringIO()

    show(RESULT, Console(file=out, width=160))

    lines = out.getvalue().splitlines()
    (leaks,) = [line for line in lines if line.startswith("leaks")]
    (calibration,) = [line for line in lines if line.startswith("calibration")]
    (shifts,) = [line for line in lines if line.startswith("shifts")]
    assert "no test episode in training or validation; 12 looked for among 116" in leaks
    assert "ECE 0.110 [0.060, 0.150], n=12" in calibration
    assert "worst of 10 suites: slip (30 % slip): success falls by 11% [6%, 15%] in 12 rooms (simulated)" in shifts


def test_a_leak_is_loud() -> None:
    out = io.StringIO()
    leaky = RESULT.model_copy(update={"leaks": LeakRow(test_episodes=12, other_episodes=116, leaks=2)})

    show(leaky, Console(file=out, width=160))

    assert "2 leaks: test episodes in training or validation" in out.getvalue()


def test_rows_are_the_reports() -> None:
    shifts = (
        ShiftEffect(shift="dim", family="light", what="half the light", loss=estimate(0.1, 0.1, 16, "newcombe-paired")),
        ShiftEffect(shift="slip", family="motor", what="30 % slip", loss=estimate(0.6, 0.2, 16, "newcombe-paired")),
    )
    report = make_report(shifts=shifts)
    assert [row.name for row in policy_rows(report)][:2] == ["one", "ensemble"]
    assert {row.name for row in closed_loop_rows(report)} == {"ensemble", *DRIVERS}
    assert len(ablation_rows(report)) == 6
    assert all(row.held for row in ablation_rows(report))
    assert leak_row(report) == LeakRow(test_episodes=20, other_episodes=80, leaks=0)
    worst = worst_shift(report)
    assert worst is not None
    assert (worst.name, worst.loss.value, worst.suites) == ("slip", 0.6, 2)
    assert worst_shift(make_report()) is None
    assert ece(report) is None


def test_names_reasons_and_links_that_hold_markup_are_text() -> None:
    hostile = RESULT.model_copy(
        update={
            "episodes": EpisodeCounts(
                uploaded=1, accepted=0, quarantined=(QuarantinedEpisode(name=HOSTILE, rule=HOSTILE),)
            ),
            "promotion": PromotionRow(decision="refused", reasons=(HOSTILE,)),
            "robots": (RobotRow(robot=HOSTILE, release=None, state=HOSTILE),),
            "links": {HOSTILE: HOSTILE},
        }
    )
    out = io.StringIO()
    show(hostile, Console(file=out, width=2000))
    assert out.getvalue().count(SHOWN) == 7
    assert_plain(out.getvalue())
