"""Figures of batches over time, and the page of them."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components import checks
from components.checks._trend import condensed, keep_figures
from components.contracts import CheckReport, EpisodeSummary, Finding
from components.storage import FolderStore
from tests.checks.test_colours import episode

MORNING = datetime(2025, 8, 15, 8, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def kept(
    store: FolderStore, number: int, summaries: list[EpisodeSummary], rules: dict[int, tuple[str, str]], hours: int
) -> None:
    """A batch of which some episodes broke a rule."""
    report = CheckReport(
        batch=hashlib.sha256(f"batch {number}".encode()).hexdigest(),
        episodes=len(summaries),
        findings=tuple(
            Finding(sha256=summaries[index].sha256, rule=rule, severity=severity, expected="", observed="")  # type: ignore[arg-type]
            for index, (rule, severity) in rules.items()
        ),
        data_docs=None,
        rules="ab" * 32,
    )
    keep_figures(store, summaries, report, MORNING + timedelta(hours=hours), {"unreadable": 1})


def batch(number: int, size: int = 4, **changes: object) -> list[EpisodeSummary]:
    return [episode(100 * number + index, None, **changes) for index in range(size)]


def test_batches_come_in_order_and_a_replay_keeps_the_first_verdict(store: FolderStore) -> None:
    kept(store, 1, batch(1), {0: ("side", "error"), 1: ("blurred", "warning")}, 2)
    kept(store, 2, batch(2), {}, 1)
    kept(store, 1, batch(1), {0: ("side", "warning")}, 3)
    other, first, again = checks.trend(store)
    assert other.with_errors == 0
    assert (first.with_errors, first.by_rule) == (1, {"blurred": 1, "side": 1})
    assert (again.by_rule, again.with_warnings) == ({"side": 1}, 1)
    assert first.batches == again.batches


def test_a_batch_that_is_judged_again_with_the_same_outcome_counts_once(store: FolderStore) -> None:
    for hours in (1, 2):
        kept(store, 1, batch(1), {0: ("side", "error")}, hours)
    (verdict,) = checks.trend(store)
    assert verdict.judged_at == MORNING + timedelta(hours=1)


def test_only_the_newest_are_read(store: FolderStore) -> None:
    for number in range(5):
        kept(store, number, batch(number), {}, number)
    assert [item.judged_at.hour for item in checks.trend(store, last=2)] == [11, 12]


def test_neighbours_are_put_together_without_losing_a_count(store: FolderStore) -> None:
    for number in range(7):
        shown = {"brightness_mean": 10.0 * number, "sharpness": (0.1, 0.2, 0.1 * number, 0.8, 0.9)}
        kept(store, number, batch(number, **shown), {0: ("side", "error")}, number)
    points = condensed(checks.trend(store), 3)
    assert [item.episodes for item in points] == [12, 12, 4]
    assert [item.by_rule["side"] for item in points] == [3, 3, 1]
    assert [item.refused["unreadable"] for item in points] == [3, 3, 1]
    assert [item.drift["brightness"].mean for item in points] == [10.0, 40.0, 60.0]
    assert (points[0].drift["brightness"].least, points[0].drift["brightness"].most) == (0.0, 20.0)
    assert "seconds" not in points[0].drift


def test_check_keeps_its_batch_with_what_could_not_be_read(store: FolderStore) -> None:
    summaries = batch(1, stated_duration_s=40.0, instruction="Go")
    report = checks.check(store, summaries, refused={"external-link": 2})
    (figures,) = checks.trend(store)
    assert (figures.batches, figures.rules) == ((report.batch,), (report.rules,))
    assert (figures.episodes, figures.refused) == (4, {"external-link": 2})
    assert figures.by_robot == {"r1": 4}
    assert figures.drift["seconds"].mean == 40.0


def test_page_shows_rates_and_links_and_asks_the_internet_for_nothing(store: FolderStore) -> None:
    for number in range(3):
        kept(
            store,
            number,
            batch(number, brightness_mean=100.0),
            {0: ("side", "error"), 1: ("idling", "warning")},
            number,
        )
    ref = checks.keep_trend(store)
    assert ref.uri == "s3://reports/checks/trend.html"
    page = store.get("reports", "checks/trend.html").decode()
    assert "9 accepted" in page
    assert "3 quarantined; 3 more uploads could not be read" in re.sub(r"\s+", " ", page)
    assert all(f"<td>{rule}</td>" in page for rule in ("side", "idling", "unreadable"))
    assert re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page) == []
    assert "<script" not in page
    assert page.count("/index.html") == 3
    assert f"rules/{'ab' * 32}.json" in page


def test_page_of_no_batches_says_so(store: FolderStore) -> None:
    checks.keep_trend(store)
    assert b"No batch was checked yet" in store.get("reports", "checks/trend.html")


def test_object_that_is_no_batch_is_left_out_and_ends_nothing(store: FolderStore) -> None:
    kept(store, 1, batch(1), {}, 1)
    before = checks.trend(store)
    for name in ("20990101T000000000000-0123456789abcdef.json", "zzz.json", "20990101T000000000000-x.json"):
        store.put("reports", f"checks/batches/{name}", b"<script>")
    assert checks.trend(store) == before
    assert b"<script>" not in store.get("reports", checks.keep_trend(store).key)
