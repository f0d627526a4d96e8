"""The demo's result: its published schema is its type's, and its table names what was found."""

import io
import json
from pathlib import Path

from rich.console import Console

from infra._demo_result import (
    ClosedLoopRow,
    DatasetCounts,
    DemoResult,
    EpisodeCounts,
    Figure,
    PolicyRow,
    PromotionRow,
    QuarantinedEpisode,
    RobotRow,
)
from infra._demo_table import show

SCHEMA = Path(__file__).parents[2] / "docs" / "demo.schema.json"
FIGURE = Figure(value=0.11, low=0.06, high=0.15, n=12)
RESULT = DemoResult(
    wall_s=400,
    peak_rss_mib=4000,
    episodes=EpisodeCounts(uploaded=9, accepted=8, quarantined=(QuarantinedEpisode(name="bad", rule="finite"),)),
    dataset=DatasetCounts(version="a" * 64, train=6, validation=1, test=1, frames=144),
    policies=(
        PolicyRow(name="ensemble", role="ensemble", mae=FIGURE, mae_by_axis={"linear_x": 0.1}, key_accuracy=FIGURE),
    ),
    closed_loop=(ClosedLoopRow(name="ensemble", success=FIGURE, spl=0.5, collisions=0.1),),
    ablations=(),
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
