"""What releases stand on, kept and found again: today's shape, and that of an older Drover."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.contracts import BASELINES, Incumbent, Settings, TrainingPlan
from components.contracts.errors import InvalidDocumentError, PromotionError
from components.promotion import decide, find_evidence, find_incumbent, release
from components.storage import FolderStore
from tests.faults.fleet_world import World
from tests.promotion.test_gate import incumbent_of, make_package
from tests.promotion.test_release import settle
from tests.reports import DIGEST, LINEAGE, REF, make_ensemble, make_report


def old_report() -> dict[str, Any]:
    """An evaluation report as it was written before every figure was a metric: its first shape, by hand."""

    def estimate(value: float, method: str = "bootstrap-by-episode") -> dict[str, Any]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 12, "method": method}

    def score(name: str, role: str, mae: float) -> dict[str, Any]:
        return {
            "name": name, "role": role, "mae": estimate(mae), "mae_by_axis": {"linear_x": estimate(mae)},
            "mae_by_scenario": {}, "key_accuracy": estimate(0.8), "macro_f1": estimate(0.7), "accuracy_within": {},
            "r2": estimate(0.6), "correlation": estimate(0.7),
        }  # fmt: skip

    def drive(name: str, role: str, success: float) -> dict[str, Any]:
        rate = estimate(success, "wilson")
        return {"name": name, "role": role, "simulated": True, "success": rate, "collisions": rate, "spl": rate,
                "mean_steps": 14.5}  # fmt: skip

    gain = estimate(0.2, "paired-bootstrap-by-episode")
    return {
        "subject": "ensemble", "subject_digest": make_ensemble().digest(), "dataset": DIGEST, "split": "test",
        "frames": 204, "episodes": 12, "axes": ["linear_x"], "constant_axes": ["linear_y", "angular_z"],
        "scores": [score("ensemble", "ensemble", 0.1), *(score(name, "baseline", 0.3) for name in BASELINES)],
        "comparisons": [{"subject": "ensemble", "reference": name, "mae_gain": gain} for name in BASELINES],
        "ablations": [
            {"name": name, "mae": estimate(0.4), "mae_loss": estimate(0.3), "expected": "worse", "held": True}
            for name in ("blank-images", "shuffled-images", "swapped-instruction")
        ],
        "closed_loop": [drive("ensemble", "subject", 0.7), drive("straight-ahead", "straight-ahead", 0.1),
                        drive("expert", "expert", 0.98)],
        "trials": REF.model_dump(), "curves": {}, "html": REF.model_dump(),
        "lineage": LINEAGE.model_dump(), "sources": ["simulated"],
    }  # fmt: skip


def keep_old(store: FolderStore, key: str = "promoted.json") -> Incumbent:
    """As an older Drover left it."""
    known = incumbent_of(make_ensemble())
    store.put("models", key, json.dumps(known.model_dump(mode="json") | {"report": old_report()}).encode())
    return known


def test_incumbent_of_an_older_drover_is_found_without_its_report(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    known = keep_old(store)
    assert find_incumbent(store) == known
    assert known.report is None


def test_incumbent_of_an_older_drover_is_measured_anew_and_can_be_replaced(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    keep_old(store)
    incumbent = find_incumbent(store)
    assert incumbent is not None
    report = make_report(make_ensemble(loss=0.5), incumbent=(incumbent.ensemble, 0.12))
    assert decide(report, make_package(report), incumbent=incumbent).promote


def test_release_over_one_of_an_older_drover_names_it_to_go_back_to(world: World, settings: Settings) -> None:
    known = keep_old(world.store)
    state = release(
        world.store, settings, world.package(tag="one"), make_ensemble(), make_report(success=0.9), TrainingPlan()
    )
    assert (state.plan.previous, state.plan.previous_number) == (known.release.name, known.release.number)


def test_rollout_that_an_older_drover_began_ends_with_its_evidence_as_it_was(world: World, settings: Settings) -> None:
    release(world.store, settings, world.package(tag="one"), make_ensemble(), make_report(success=0.9), TrainingPlan())
    written = json.loads(world.store.get("models", "releases/r0001.json")) | {"report": old_report()}
    world.store.put("models", "releases/r0001.json", json.dumps(written).encode())
    assert settle(world, settings) == "completed"
    assert json.loads(world.store.get("models", "promoted.json")) == written


@pytest.mark.parametrize("field", ["release", "ensemble", "package"])
def test_evidence_whose_release_or_policy_cannot_be_read_is_named(tmp_path: Path, field: str) -> None:
    store = FolderStore(tmp_path)
    document = keep_old(store).model_dump(mode="json") | {"report": old_report(), field: {"what": "is this"}}
    store.put("models", "promoted.json", json.dumps(document).encode())
    with pytest.raises(InvalidDocumentError, match=rf"models/promoted\.json.*{field}"):
        find_incumbent(store)
    store.put("models", "promoted.json", b"half a docu")
    with pytest.raises(InvalidDocumentError, match=r"models/promoted\.json"):
        find_incumbent(store)


def test_release_of_an_older_drover_cannot_be_explained_and_says_why(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    keep_old(store, "releases/r0001.json")
    with pytest.raises(PromotionError, match="older Drover"):
        find_evidence(store, "r0001")


def test_release_is_judged_against_what_it_replaced(world: World, settings: Settings) -> None:
    first, second = make_ensemble(), make_ensemble(loss=0.5)
    release(world.store, settings, world.package(tag="one"), first, make_report(first, success=0.9), TrainingPlan())
    settle(world, settings)
    report = make_report(second, success=0.9, incumbent=(first, 0.12))
    release(world.store, settings, world.package(tag="two"), second, report, TrainingPlan())
    (one,), (two,) = find_evidence(world.store, "r0001"), find_evidence(world.store, "r0002")
    assert one.incumbent is None
    assert two.incumbent is not None
    assert (two.incumbent.release.name, two.incumbent.ensemble, two.report) == ("r0001", first, report)
    assert two.package is not None
    assert find_evidence(world.store, two.package.sha256[:8]) == [two]
    assert find_evidence(world.store, "f" * 12) == []
    assert find_evidence(world.store, "latest") == []
