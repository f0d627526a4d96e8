"""The suite for real: each rule finds its fault, and only that."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import checks
from components.checks._rules import Rule
from components.checks._suite import judge
from components.contracts import EpisodeSummary, Finding
from components.contracts.errors import DroverError
from components.episodes import MIRROR_MASK
from components.storage import FolderStore, fetch

Make = Callable[..., EpisodeSummary]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def summary() -> Make:
    """A sound summary of the robots' own kind; every call gives another episode."""
    generator = np.random.default_rng(0)
    made = 0

    def make(**changes: Any) -> EpisodeSummary:
        nonlocal made
        made += 1
        fields: dict[str, Any] = {
            "sha256": f"{made:064x}", "content_sha256": f"{made + 2**20:064x}", "name": f"episode-{made:03d}",
            "robot": "r1", "session": "r1-20250815", "scenario": "1box_vert_left", "pattern": "core",
            "distance": "medium", "instruction": "Navigate around the single box obstacle by going left",
            "source": "robot", "collected_at": datetime(2025, 8, 15, 10, 30, tzinfo=UTC), "frames": 18,
            "width": 1280, "height": 720, "stated_frames": 18, "stated_duration_s": 42.7,
            "frame_zero_is_start": True, "non_finite_actions": 0, "action_min": (0.0, -1.15, 0.0),
            "action_max": (1.15, 1.15, 0.0), "unknown_key_fraction": 0.0, "brightness_mean": 120.0,
            "blank_frames": 0, "frozen_frames": 0, "perceptual_hash": generator.bytes(24).hex(),
            "sharpness": (0.5, 0.6, 0.7, 0.8, 0.9), "edgeless_fraction": 0.0, "dark_share": (0.0,) * 5,
            "bright_share": (0.0,) * 5, "side": 0.2, "idle_fraction": 0.1, "longest_pause": 0,
        }  # fmt: skip
        return EpisodeSummary.model_validate(fields | changes)

    return make


def ahead(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"non_finite_actions": 3}, "finite", "error"),
    ({"action_max": (1.3, 0.0, 0.0)}, "range", "error"),
    ({"action_min": (-2.0, 0.0, 0.0)}, "range", "error"),
    ({"frames": 1, "stated_frames": 1}, "too-short", "error"),
    ({"frame_zero_is_start": False}, "frame-zero", "error"),
    ({"unknown_key_fraction": 0.3}, "key-vocabulary", "error"),
    ({"source": "simulated", "unknown_key_fraction": 0.3}, "key-vocabulary", "error"),
    ({"frozen_frames": 12}, "frozen", "error"),
    ({"frozen_frames": 3}, "some-frozen", "warning"),
    ({"blank_frames": 1}, "some-blank", "warning"),
    ({"stated_duration_s": 0.05}, "clock-implausible", "warning"),
    ({"stated_duration_s": 9000.0}, "clock-implausible", "warning"),
    ({"source": "donkey", "scenario": None, "stated_duration_s": 0.05}, "clock-implausible", "warning"),
    ({"collected_at": datetime(1970, 1, 1, tzinfo=UTC)}, "date-implausible", "warning"),
    ({"collected_at": ahead(days=5)}, "date-in-future", "warning"),
    ({"stated_frames": 20}, "frame-count", "warning"),
    ({"brightness_mean": 2.0}, "exposure", "warning"),
    ({"width": 64}, "small-frames", "warning"),
    ({"side": -0.2}, "side", "error"),
    ({"scenario": "2box_hori_right", "instruction": "Pass the two boxes on the right"}, "side", "error"),
    ({"sharpness": (0.1, 0.12, 0.15, 0.2, 0.9)}, "blurred", "warning"),
    ({"edgeless_fraction": 0.95}, "blurred", "warning"),
    ({"sharpness": (0.1, 0.12, 0.6, 0.7, 0.9)}, "some-blurred", "warning"),
    ({"dark_share": (0.0, 0.0, 0.1, 0.4, 0.5)}, "under-exposed", "warning"),
    ({"bright_share": (0.0, 0.0, 0.1, 0.4, 0.5)}, "over-exposed", "warning"),
    ({"idle_fraction": 0.8}, "idling", "warning"),
    ({"longest_pause": 6}, "idling", "warning"),
    ({"stated_duration_s": 250.0}, "idling", "warning"),
    ({"scenario": None}, "unknown-scenario", "warning"),
    ({"instruction": ""}, "instruction", "warning"),
    ({"instruction": "Go right."}, "instruction", "warning"),
    ({"instruction": "Pass the two boxes on the left."}, "instruction", "warning"),
]


def test_each_fault_in_one_batch_is_found_where_it_is(store: FolderStore, summary: Make) -> None:
    """Every rule at once: an episode's errors are its own fault's alone, and a sound one has no finding."""
    faulty = [(summary(**changes), rule, severity) for changes, rule, severity in FAULTS]
    sound = [summary() for _ in range(10)]
    report = checks.check(store, [*sound, *(made for made, _, _ in faulty)])
    found: dict[str, set[tuple[str, str]]] = {}
    for item in report.findings:
        found.setdefault(item.sha256, set()).add((item.rule, item.severity))
    assert set(found) == {made.sha256 for made, _, _ in faulty}
    for made, rule, severity in faulty:
        assert (rule, severity) in found[made.sha256]
        errors = {name for name, kind in found[made.sha256] if kind == "error"}
        assert errors == ({rule} if severity == "error" else set())


def test_sound_episodes_give_no_finding_and_a_page(store: FolderStore, summary: Make) -> None:
    report = checks.check(store, [summary() for _ in range(5)])
    assert (report.episodes, report.findings) == (5, ())
    assert report.data_docs is not None
    assert report.data_docs.uri == f"s3://reports/checks/{report.batch}/index.html"


def test_summary_without_clock_date_or_counts_is_sound(store: FolderStore, summary: Make) -> None:
    bare = summary(stated_duration_s=None, stated_frames=None, collected_at=None)
    assert checks.check(store, [bare]).findings == ()


def test_donkey_actions_need_no_key_and_no_scenario(store: FolderStore, summary: Make) -> None:
    drive = summary(
        source="donkey", scenario=None, instruction="Follow the track", unknown_key_fraction=1.0, stated_duration_s=0.9
    )
    assert checks.check(store, [drive]).findings == ()


def test_donkeys_clock_is_a_warning_that_says_why(store: FolderStore, summary: Make) -> None:
    (finding,) = checks.check(
        store, [summary(source="donkey", scenario=None, frames=50, stated_frames=50, stated_duration_s=0.147)]
    ).findings
    assert (finding.rule, finding.severity) == ("clock-implausible", "warning")
    assert finding.observed == "0.003 s a frame: 0.147 s stated for 50 frames"
    assert finding.expected == "0.02 to 1 s a frame: a camera's rate"


def test_blank_episode_is_an_error_beside_its_warning(store: FolderStore, summary: Make) -> None:
    report = checks.check(store, [summary(blank_frames=18)])
    assert [(item.rule, item.observed) for item in report.findings] == [("blank", "100%"), ("some-blank", "18")]


def test_actions_that_are_all_nan_are_refused_for_that_first(store: FolderStore, summary: Make) -> None:
    report = checks.check(
        store, [summary(non_finite_actions=54, action_min=None, action_max=None, unknown_key_fraction=1.0)]
    )
    assert [item.rule for item in report.findings] == ["finite", "key-vocabulary"]


def test_of_equal_contents_the_first_by_robot_and_name_is_kept(store: FolderStore, summary: Make) -> None:
    same = {"content_sha256": "c" * 64, "perceptual_hash": "5" * 48}
    late = summary(**same, robot="r2", name="a")
    first = summary(**same, robot="r1", name="b")
    middle = summary(**same, robot="r1", name="c")
    report = checks.check(store, [late, middle, first])
    assert [(item.rule, item.sha256, item.observed) for item in report.findings] == [
        ("duplicate", middle.sha256, "those of r1/b"),
        ("duplicate", late.sha256, "those of r1/b"),
    ]


def test_content_of_a_known_episode_is_a_duplicate(store: FolderStore, summary: Make) -> None:
    old = summary()
    new = summary(content_sha256=old.content_sha256)
    (finding,) = checks.check(store, [new], known=[old]).findings
    assert (finding.rule, finding.observed) == ("duplicate", f"those of r1/{old.name}")


def test_frames_alike_but_not_equal_are_a_near_duplicate(store: FolderStore, summary: Make) -> None:
    old = summary()
    changed = f"{int(old.perceptual_hash, 16) ^ 0b101:048x}"
    (finding,) = checks.check(store, [summary(perceptual_hash=changed)], known=[summary(), old]).findings
    assert (finding.rule, finding.severity) == ("near-duplicate", "warning")
    assert finding.observed == f"2 bits from r1/{old.name}"


def test_mirror_image_of_a_known_episode_is_named(store: FolderStore, summary: Make) -> None:
    old = summary()
    mirrored = (np.frombuffer(bytes.fromhex(old.perceptual_hash), np.uint8) ^ MIRROR_MASK).tobytes().hex()
    (finding,) = checks.check(store, [summary(perceptual_hash=mirrored)], known=[old, summary()]).findings
    assert (finding.rule, finding.severity) == ("mirrored-duplicate", "warning")
    assert finding.observed == f"0 bits from a mirrored r1/{old.name}"


def test_records_from_before_these_measures_are_sound(store: FolderStore, summary: Make) -> None:
    absent = ("sharpness", "edgeless_fraction", "dark_share", "bright_share", "side", "idle_fraction", "longest_pause")
    old = json.loads(summary().canonical_json())
    bare = EpisodeSummary.parse(
        json.dumps({name: value for name, value in old.items() if name not in absent}), source="an old record"
    )
    assert checks.check(store, [bare]).findings == ()


def test_report_names_the_rules_that_it_was_judged_by(store: FolderStore, summary: Make) -> None:
    rulebook = checks.Rulebook(severities={"small-frames": "off", "some-blank": "error"})
    report = checks.check(store, [summary(width=64), summary(blank_frames=1)], rulebook=rulebook)
    assert [(item.rule, item.severity) for item in report.findings] == [("some-blank", "error")]
    assert report.rules == rulebook.digest()
    kept = store.get("reports", f"checks/rules/{report.rules}.json")
    assert checks.Rulebook.parse(kept, source="test") == rulebook
    assert report.data_docs is not None
    assert report.rules[:12] in fetch(store, report.data_docs).decode()


def test_known_files_and_repeated_files_are_judged_once(store: FolderStore, summary: Make) -> None:
    old, new = summary(), summary()
    report = checks.check(store, [new, old, new], known=[old])
    assert (report.episodes, report.findings) == (1, ())
    assert report.batch == checks.check(store, [new]).batch


def test_thresholds_are_settings(store: FolderStore, summary: Make) -> None:
    odd = summary(unknown_key_fraction=0.1)
    rulebook = checks.Rulebook(thresholds=checks.Thresholds(unknown_keys=0.2))
    assert checks.check(store, [odd], rulebook=rulebook).findings == ()


def test_pages_ask_the_internet_for_nothing_and_say_what_was_found(store: FolderStore, summary: Make) -> None:
    report = checks.check(store, [summary(), summary(name="shaken", non_finite_actions=2)])
    assert report.data_docs is not None
    page = fetch(store, report.data_docs).decode()
    suite = store.get("reports", f"checks/{report.batch}/suite.html").decode()
    for text in (page, suite):
        assert re.findall(r"(?:src|href)=[\"']?(?:https?:)?//[^\"' >]*", text) == []
        assert re.findall(r"url\([^)]*\)|@import|amazonaws", text) == []
    assert 'href="suite.html"' in page
    assert "r1/shaken" in page
    assert "finite (error): expected only finite actions" in page
    assert "finite (error): expected only finite actions" in suite


def test_words_of_a_robot_reach_no_page(store: FolderStore, summary: Make) -> None:
    report = checks.check(store, [summary(instruction="<script>alert(1)</script> right", session="<b>")])
    assert report.data_docs is not None
    assert "alert(1)" not in fetch(store, report.data_docs).decode()


def test_rule_that_cannot_be_evaluated_is_an_error_not_a_pass(tmp_path: Path) -> None:
    table = (Rule(rule="odd", severity="error", column="missing", expected="a column", maximum=1),)
    with pytest.raises(DroverError, match="odd"):
        judge([{"episode": "r1/e", "sha256": "0" * 64, "source": "robot"}], table, tmp_path)


def test_every_rule_has_a_column_and_one_severity(summary: Make) -> None:
    table = checks.rules(checks.Thresholds())
    severities: dict[str, set[str]] = {}
    for rule in table:
        severities.setdefault(rule.rule, set()).add(rule.severity)
    assert all(len(kinds) == 1 for kinds in severities.values())
    errors = [rule.severity for rule in table]
    assert errors == sorted(errors)  # errors first: the first one is what an episode is quarantined for


def test_empty_batch_gives_an_empty_report_without_loading_the_suite() -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from components import checks; from components.storage import FolderStore\n"
        "report = checks.check(FolderStore(Path('/nonexistent')), [])\n"
        "assert report.episodes == 0 and report.findings == () and report.data_docs is None\n"
        "assert 'great_expectations' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_findings_are_plain_values(store: FolderStore, summary: Make) -> None:
    report = checks.check(store, [summary(non_finite_actions=1)])
    assert [Finding.parse(item.canonical_json(), source="test") for item in report.findings] == list(report.findings)
