"""Who drives where, when a run stops, and what follows: on outcomes that are made up, and on drives that are not."""

import numpy as np
import pytest
import torch

from components.contracts import (
    AXES,
    BLIND,
    DRIVERS,
    EXPERT,
    INCUMBENT,
    STRAIGHT_AHEAD,
    UNSHIFTED,
    FrameSpec,
    Lineage,
    TrainedPolicy,
    TrialOutcome,
    TrialPlan,
)
from components.episodes import KEYS, SCENARIOS
from components.evaluation._baselines import Medians
from components.evaluation._closed_loop import conclude, drive, drive_rooms
from components.evaluation._room_metrics import MEANS, RATES, STOPPED_WARNING, room_metrics
from components.policies import build_module, recipes, save_weights
from components.simulation import SHIFTS, SIMULATOR, sample_scenario, trial_rooms
from components.storage import FolderStore

NAMES = ("ensemble", *DRIVERS)
CHANCES = {"ensemble": 0.9, INCUMBENT: 0.9, "other": 0.5, EXPERT: 1.0, STRAIGHT_AHEAD: 0.0, BLIND: 0.05}
LINEAGE = Lineage(code_revision="c0ffee", python="3.11.9", packages={}, machine="Linux x86_64, 2 CPUs")


def outcome(name, room, *, good, shift=UNSHIFTED):
    scenario, seed = room
    return TrialOutcome(
        policy=name, scenario=scenario, seed=seed, success=good, reached=good or seed % 2 == 0, right_side=good,
        collided=not good, spl=0.8 if good else 0.0, steps=9 + seed % 5, duration_s=0.3 * (9 + seed % 5),
        distance_m=2.0 + 0.1 * (seed % 5), path=(), shift=shift,
    )  # fmt: skip


class MadeUp:
    """Drivers that succeed by chance, each with its own; remembers who was sent where."""

    def __init__(self, chances=CHANCES, seed=0):
        self.chances, self.rng, self.sent = chances, np.random.default_rng(seed), []

    def __call__(self, name, rooms, shift=UNSHIFTED):
        self.sent.append((name, tuple(rooms)))
        return [outcome(name, room, good=bool(self.rng.random() < self.chances[name]), shift=shift) for room in rooms]


def run(plan, names=NAMES, **settings):
    go = MadeUp(**settings)
    return go, drive_rooms(go, names, trial_rooms(plan.rooms), plan, "ensemble")


def test_fixed_number_of_rooms_is_driven_by_everybody_at_once():
    plan = TrialPlan(margin=0.15)
    go, driven = run(plan)
    assert go.sent == [(name, trial_rooms(plan.rooms)) for name in NAMES]
    assert {tuple(item.room for item in own) for own in driven.values()} == {trial_rooms(plan.rooms)}


def test_run_that_may_stop_stops_at_a_clear_winner_and_all_have_met_the_same_rooms():
    plan = TrialPlan(margin=0.1, stop_early=True, shift_rooms=0)
    _, driven = run(plan)
    rooms = len(driven["ensemble"])
    assert rooms in {8, 16, 24}
    assert {tuple(item.room for item in own) for own in driven.values()} == {trial_rooms(plan.rooms)[:rooms]}
    loop = conclude(driven, {}, subject="ensemble", plan=plan, seed=0)
    assert {pair.reference: pair.decided for pair in loop.pairs}[STRAIGHT_AHEAD] == "better"
    assert all(pair.p_value is None and pair.difference.method == "anytime-paired" for pair in loop.pairs)


def test_run_against_an_equal_incumbent_goes_on_to_the_planned_end():
    plan = TrialPlan(margin=0.15, stop_early=True)
    _, driven = run(plan, names=(*NAMES, INCUMBENT))
    assert len(driven["ensemble"]) == len(driven[INCUMBENT]) == plan.rooms


def test_another_member_does_not_keep_a_run_going():
    plan = TrialPlan(margin=0.1, stop_early=True, shift_rooms=0)
    _, driven = run(plan, names=("ensemble", "other", *DRIVERS), chances=CHANCES | {"other": 0.9})
    assert len(driven["other"]) == len(driven["ensemble"]) < plan.rooms


def test_rooms_of_the_shift_suites_are_driven_before_the_first_look():
    plan = TrialPlan(margin=0.1, stop_early=True, shift_rooms=30)
    go, driven = run(plan)
    assert len(driven["ensemble"]) == 32
    assert len(go.sent) == len(NAMES)
    assert len(run(TrialPlan(margin=0.3, stop_early=True, shift_rooms=500))[1]["ensemble"]) == 8


def test_metrics_are_of_everybody_over_all_rooms_and_by_scenario():
    plan = TrialPlan(margin=0.15)
    _, driven = run(plan)
    metrics = room_metrics(driven, seed=0)
    assert [(item.name, item.sample.scenario) for item in metrics] == [
        (name, scenario) for scenario in (None, *sorted(SCENARIOS)) for name in (*RATES, *MEANS)
    ]
    assert {tuple(item.figures) for item in metrics} == {NAMES}
    assert {item.sample.simulator for item in metrics} == {SIMULATOR}
    assert {item.sample.rooms for item in metrics} == {plan.rooms, plan.rooms // 8}
    for item in metrics:
        own = [o for o in driven["ensemble"] if item.sample.scenario in {None, o.scenario}]
        field = RATES.get(item.name) or MEANS[item.name][0]
        figure = item.figures["ensemble"]
        assert figure.value == pytest.approx(np.mean([getattr(o, field) for o in own]))
        assert figure.method == ("wilson" if item.name in RATES else "bootstrap-by-trial")
        assert item.warning is None
        assert figure.low < figure.high


def test_run_that_may_stop_has_intervals_that_allow_it_and_a_warning_where_there_is_none():
    plan = TrialPlan(margin=0.1, stop_early=True, shift_rooms=0)
    metrics = room_metrics(run(plan)[1], seed=0, stop_early=True)
    methods = {item.name: (item.figures["ensemble"].method, item.warning) for item in metrics}
    assert {name for name, told in methods.items() if told == ("anytime", None)} == {*RATES, "spl"}
    assert {name for name, told in methods.items() if told == ("bootstrap-by-trial", STOPPED_WARNING)} == {
        "steps", "duration-s", "distance-m",
    }  # fmt: skip


def test_single_room_of_a_scenario_tells_no_mean_without_bounds():
    _, driven = run(TrialPlan(margin=0.4))
    assert {item.name for item in room_metrics(driven, seed=0) if item.sample.rooms == 1} == {*RATES, "spl"}


def test_loss_under_a_shift_is_paired_with_the_same_rooms_unchanged():
    plan = TrialPlan(margin=0.15, shift_rooms=12)
    _, driven = run(plan)
    blind_to_it, bad = SHIFTS[:2]
    same = {name: [o.model_copy(update={"shift": blind_to_it.name}) for o in driven[name][:12]] for name in NAMES}
    none = {name: [outcome(name, o.room, good=False, shift=bad.name) for o in driven[name][:12]] for name in NAMES}
    loop = conclude(driven, {blind_to_it: same, bad: none}, subject="ensemble", plan=plan, seed=0)
    kept, lost = loop.shifts
    assert (kept.shift, kept.family, kept.what) == (blind_to_it.name, blind_to_it.family, blind_to_it.what)
    assert kept.loss.value == 0
    before = np.mean([o.success for o in driven["ensemble"][:12]])
    assert lost.loss.value == pytest.approx(before)
    assert lost.loss.surely_positive
    assert (lost.loss.n, lost.loss.method) == (12, "newcombe-paired")
    shifted = [item for item in loop.metrics if item.sample.shift == bad.name]
    assert {item.sample.scenario for item in shifted} == {None, *SCENARIOS}
    assert {item.figures["ensemble"].value for item in shifted if item.name == "success"} == {0.0}
    assert len(loop.outcomes) == 4 * plan.rooms + 2 * 4 * 12


def untrained(store, name, frame=None):
    spec = recipes.compact_mlp(AXES, features=8, hidden=8).model_copy(update={"frame": frame or FrameSpec()})
    torch.manual_seed(0)
    weights = save_weights(store, build_module(spec, ("left", "right")).state_dict())
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=("left", "right"), weights=weights, dataset="a" * 64, curve=(), best_epoch=0,
        lineage=LINEAGE,
    )  # fmt: skip


FORWARD = Medians(KEYS["W"], {}, {("1box_vert_left", 2): KEYS["S"]})


def test_drives_are_real_in_equal_rooms_and_under_every_shift(tmp_path):
    store, told = FolderStore(tmp_path), []
    policies = {"mlp": untrained(store, "mlp"), INCUMBENT: untrained(store, "old", FrameSpec(width=64, height=36))}
    plan = TrialPlan(margin=0.49, shift_rooms=1)
    loop = drive(
        store, policies, FORWARD, subject="mlp", plan=plan, seed=2, workers=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(done, 40 + 4 * len(SHIFTS)) for done in range(1, 41 + 4 * len(SHIFTS))]
    unshifted = [item for item in loop.outcomes if item.shift == UNSHIFTED]
    for name in (*policies, *DRIVERS):
        assert tuple(item.room for item in unshifted if item.policy == name) == trial_rooms(8, seed=2)
    assert {item.policy for item in loop.outcomes if item.shift != UNSHIFTED} == {"mlp", *DRIVERS}
    assert [item.shift for item in loop.shifts] == [shift.name for shift in SHIFTS]
    assert {pair.reference for pair in loop.pairs} == {INCUMBENT, *DRIVERS}
    assert all(item.success for item in unshifted if item.policy == EXPERT)


def test_blind_driver_presses_the_medians_of_its_scenario_and_never_looks(tmp_path):
    store, plan = FolderStore(tmp_path), TrialPlan(margin=0.49, shift_rooms=0)
    loop = drive(
        store, {"mlp": untrained(store, "mlp")}, FORWARD, subject="mlp", plan=plan, seed=0, workers=1, progress=None
    )
    ways = {(item.policy, item.scenario): item.path for item in loop.outcomes}
    for name in SCENARIOS[1:]:
        assert ways[BLIND, name] == ways[STRAIGHT_AHEAD, name]
    scenario, seed = trial_rooms(8)[SCENARIOS.index("1box_vert_left")]
    back, ahead = ways[BLIND, scenario], ways[STRAIGHT_AHEAD, scenario]
    assert back[0] == ahead[0]
    assert np.hypot(*np.subtract(back[1], sample_scenario(scenario, seed).start)[:2]) < 0.1  # the second press is S
    assert loop.shifts == ()


def test_progress_of_a_run_that_stops_early_ends_at_all_that_is_left(tmp_path):
    store, told = FolderStore(tmp_path), []
    backwards = Medians(KEYS["S"], {}, {})
    plan = TrialPlan(margin=0.3, stop_early=True, shift_rooms=0)
    policies = {"mlp": untrained(store, "mlp")}
    loop = drive(
        store, policies, backwards, subject="mlp", plan=plan, seed=0, workers=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (len(loop.outcomes), len(loop.outcomes))
