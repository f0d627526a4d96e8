"""A report with everything in it, made up from one seed: what pages and commands are tried on without measuring."""

import math
from statistics import NormalDist

import numpy as np

from components import simulation
from components.contracts import (
    AXES,
    BLIND,
    EXPERT,
    FIRST_FRAME_WARNING,
    INCUMBENT,
    STRAIGHT_AHEAD,
    UNSHIFTED,
    Ablation,
    Comparison,
    Disagreement,
    Ensemble,
    EpochMetrics,
    Estimate,
    EvaluationInputs,
    EvaluationReport,
    FrameSample,
    LeakCheck,
    Lineage,
    Metric,
    Novelty,
    ObjectRef,
    PairedTrials,
    PolicySpec,
    Reliability,
    ReliabilityBin,
    RiskPoint,
    RoomSample,
    ShiftEffect,
    TrainedPolicy,
    TrialOutcome,
    TrialPlan,
)
from components.datasets import EpisodeFrames
from components.episodes import KEYS, SCENARIOS, instruction_for
from components.evaluation._truth import Truth
from components.evaluation.page import Material, chosen_frames

DATASET = "d" * 64
VARYING = ("linear_x", "linear_y")
SIMULATOR = "numba ray caster, MuJoCo 4.0"
LINEAGE = Lineage(
    code_revision="5cd61f9c0ffee", python="3.11.9", packages={"numpy": "2.4.6", "torch": "2.13.0"},
    machine="Linux x86_64, 2 CPUs",
)  # fmt: skip
SHIFTS = [(shift.name, shift.family, shift.what) for shift in simulation.SHIFTS[::3]]
_Z = NormalDist().inv_cdf(0.975)
_SHARES = tuple(17 * (0.4 + 0.1 * (9 - abs(9 - step))) / 14.9 for step in range(1, 18))
_ERRORS = {"mlp": 0.13, "lstm": 0.105, "ensemble": 0.09, INCUMBENT: 0.115, "constant": 0.40, "median-per-step": 0.31,
           BLIND: 0.19, "repeat-previous": 0.25}  # fmt: skip
_SUCCESS = {"ensemble": 0.8, INCUMBENT: 0.7, BLIND: 0.1, STRAIGHT_AHEAD: 0.0, EXPERT: 1.0}


def wilson_of(wins, n, method="wilson"):
    rate, spread = wins / n, _Z**2 / n
    middle, half = (
        (rate + spread / 2) / (1 + spread),
        _Z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread),
    )
    return Estimate(value=rate, low=max(0.0, min(rate, middle - half)), high=min(1.0, max(rate, middle + half)), n=n,
                    method=method)  # fmt: skip


def around(value, half, n, method="bootstrap-by-episode", *, low=-math.inf, high=math.inf):
    return Estimate(value=value, low=max(low, value - half), high=min(high, value + half), n=n, method=method)


def policy(name, *, seed=0, head="lstm"):
    curve = tuple(
        EpochMetrics(epoch=epoch, training_loss=0.9 / (epoch + 1) + 0.05, validation_loss=0.9 / (epoch + 1) + 0.15,
                     validation_mae=0.3 / (epoch + 1) + 0.1, learning_rate=1e-3, frames_per_s=900)
        for epoch in range(12)
    )  # fmt: skip
    return TrainedPolicy(
        name=name, spec=PolicySpec(recipe=f"compact_{head}", head=head, axes=VARYING),
        vocabulary=("left", "right"), weights=ObjectRef(uri=f"s3://models/{name}-{seed}", sha256="b" * 64, size=9),
        dataset=DATASET, curve=curve, best_epoch=11, lineage=LINEAGE,
    )  # fmt: skip


def ensemble(seed=0):
    members = (policy("mlp", head="mlp", seed=seed), policy("lstm", seed=seed))
    return Ensemble(members=members, weights=(0.3, 0.7), dataset=DATASET, validation_loss=0.2,
                    validation_loss_held_out=0.22)  # fmt: skip


def full_report(*, dataset=DATASET, sources=("simulated",), outcomes=None, seed=0, incumbent=None, error=None,
                drives=True, **changes):  # fmt: skip
    """All of a report's parts. `error`: the ensemble's MAE."""
    whole = FrameSample(dataset=dataset, simulated="simulated" in sources, axes=VARYING)
    errors = _ERRORS | ({"ensemble": error} if error is not None else {})
    plan = ensemble(seed)
    outcomes = full_outcomes() if outcomes is None else outcomes
    frames = _frame_metrics(whole, errors)
    fields = {
        "subject": "ensemble",
        "subject_digest": plan.digest(),
        "dataset": dataset,
        "sources": sources,
        "frames": 16 * 17,
        "episodes": 16,
        "axes": VARYING,
        "constant_axes": tuple(axis for axis in AXES if axis not in VARYING),
        "metrics": (*frames, *(_room_metrics(outcomes) if drives else ())),
        "comparisons": tuple(_compared(whole, errors, name) for name in errors if name != "ensemble"),
        "leaks": LeakCheck(test_episodes=16, other_episodes=64, leaks=()),
        "ablations": _ablations(whole),
        "reliability": (_reliability(whole),),
        "disagreement": _disagreement(whole),
        "paired_trials": tuple(_pair(outcomes, name) for name in _SUCCESS if name != "ensemble") if drives else (),
        "shifts": _shifts(outcomes) if drives else (),
        "trials": ObjectRef(uri="s3://reports/trials", sha256="c" * 64, size=1) if drives else None,
        "inputs": EvaluationInputs(members=plan.members, ensemble=plan, incumbent=incumbent or policy("old"),
                                   trials=TrialPlan() if drives else None, seed=0),
        "lineage": LINEAGE,
    }  # fmt: skip
    return EvaluationReport(**(fields | changes))


def _frame_metrics(whole, errors):
    def metric(name, figures, half=0.02, **sample):
        n = sample.pop("n", 16)
        warning = sample.pop("warning", None)
        figures = {who: around(value, half, n, low=0.0, high=2.3) for who, value in figures.items()}
        return Metric(name=name, sample=whole.model_copy(update=sample), figures=figures, warning=warning)

    right = {who: 1 - 1.6 * value for who, value in errors.items()}
    made = [metric("mae", errors)]
    made += [
        metric("mae", {w: v * f for w, v in errors.items()}, axes=(a,))
        for a, f in zip(VARYING, (0.6, 1.4), strict=True)
    ]
    made += [metric("key-accuracy", right), metric("macro-f1", {w: max(v - 0.1, 0.05) for w, v in right.items()})]
    made += [metric(f"within-{limit}", right) for limit in ("0.3", "0.2", "0.15", "0.1")]
    made += [metric("r2", {w: 1 - 2.2 * v for w, v in errors.items()}), metric("correlation", right)]
    made += [
        metric("brier", {w: v * 1.5 for w, v in errors.items()}),
        metric("ece", {w: v * 0.6 for w, v in errors.items()}),
    ]
    made += [
        metric("mae", {w: v * (0.7 + 0.1 * i) for w, v in errors.items()}, 0.05 if i else 0.0,
               scenario=name, n=2 if i else 1)
        for i, name in enumerate(SCENARIOS)
    ]  # fmt: skip
    made += [
        metric("mae", {w: v * share for w, v in errors.items()}, 0.05, frame=step)
        for step, share in enumerate(_SHARES, 1)
    ]
    for protocol, factor in (("middle-frame", 1.3), ("random-frame", 1.1), ("first-frame", 0.0)):
        warning = FIRST_FRAME_WARNING if protocol == "first-frame" else None
        nearly = 0.001 if protocol == "first-frame" else 0.04
        made.append(
            metric("mae", {w: v * factor for w, v in errors.items()}, nearly, protocol=protocol, warning=warning)
        )
        made.append(metric("key-accuracy", {w: 1 - factor * (1 - v) for w, v in right.items()}, nearly,
                           protocol=protocol, warning=warning))  # fmt: skip
    return made


def _compared(whole, errors, name):
    gain = errors[name] - errors["ensemble"]
    return Comparison(
        subject="ensemble", reference=name, sample=whole,
        mae_gain=around(gain, 0.02, 16, "paired-bootstrap-by-episode"),
        key_accuracy_gain=around(1.6 * gain, 0.03, 16, "paired-bootstrap-by-episode"),
    )  # fmt: skip


def _ablations(whole):
    rows = (
        ("blank-images", 0.31, "rises", 0.0, "Every frame is one grey: the error rises, because the policy looks."),
        ("shuffled-images", 0.26, "rises", 0.0, "Every frame comes from another episode: the error rises."),
        ("frozen-images", 0.15, "rises", 0.0, "Every frame is the first: the error rises, because the view changes."),
        ("swapped-instruction", 0.28, "rises", 0.0, "Left and right are swapped: the error rises, because it listens."),
        ("blank-instruction", 0.2, "rises", 0.0, "No words: the error rises, because it cannot know the side."),
        ("paraphrased-instruction", 0.02, "stays", 0.03, "Other words for the same: the error stays within 0.03."),
    )
    made = []
    for name, loss, expects, margin, words in rows:
        rise = around(loss, 0.04, 16, "paired-bootstrap-by-episode")
        held = rise.low > margin if expects == "rises" else -margin <= rise.low and rise.high <= margin
        made.append(Ablation(name=name, sample=whole, mae=around(0.09 + loss, 0.04, 16), mae_loss=rise, expects=expects,
                             margin=margin, expected=words, held=held))  # fmt: skip
    return tuple(made)


def _reliability(whole):
    bins = [
        ReliabilityBin(low=low / 10, high=low / 10 + 0.1, frames=frames, confidence=low / 10 + 0.05,
                       accuracy=around(accuracy, 0.12, 12, low=0.0, high=1.0))
        for low, frames, accuracy in ((4, 6, 0.3), (5, 11, 0.5), (6, 20, 0.52), (7, 35, 0.7), (8, 60, 0.8),
                                      (9, 140, 0.97))
    ]  # fmt: skip
    return Reliability(policy="ensemble", sample=whole, bins=tuple(bins))


def _disagreement(whole):
    return Disagreement(
        measure="mean Jensen-Shannon divergence of the members' probabilities",
        sample=whole,
        error_auroc=around(0.78, 0.07, 16),
        risk=tuple(
            RiskPoint(coverage=step / 10, key_accuracy=around(0.99 - 0.014 * step, 0.03, 16, high=1.0))
            for step in range(1, 11)
        ),
        novelty=tuple(
            Novelty(shift=name, auroc=around(0.45 + 0.05 * i, 0.08, 16)) for i, (name, *_) in enumerate(SHIFTS)
        ),
    )


def full_outcomes(rooms=24, policies=tuple(_SUCCESS), shifts=SHIFTS, seed=0):
    """Every driver in the unshifted rooms, the ensemble under every shift too; ways are made up, rooms are real."""
    made = [outcome(who, room, _SUCCESS[who], seed=seed) for who in policies for room in range(rooms)]
    made += [
        outcome("ensemble", room, 0.8 - 0.06 * index, shift=name)
        for index, (name, *_) in enumerate(shifts)
        for room in range(16)
    ]
    return tuple(made)


def outcome(who, room, rate, *, shift=UNSHIFTED, seed=0):
    luck = np.random.default_rng([seed, len(who), room, len(shift), ord(shift[0])])
    good = bool(luck.random() < rate)
    kind = "good" if good else ("hit", "wrong", "lost")[room % 3]
    side = 1 if SCENARIOS[room % 8].endswith("left") else -1
    if who == STRAIGHT_AHEAD:
        kind, side = "hit", 0
    bend = {"good": side, "wrong": -side, "hit": 0.3 * side, "lost": 2.2 * side}[kind]
    steps = 7 if kind == "hit" else 24 if kind == "lost" else 17
    ahead = 0.11 if kind == "lost" else 0.17
    path = tuple(
        (ahead * step, 0.75 * bend * math.sin(min(math.pi, 0.2 * step)), 0.15 * bend * math.cos(0.2 * step))
        for step in range(1, steps + 1)
    )
    return TrialOutcome(
        policy=who, scenario=SCENARIOS[room % 8], seed=10**9 + 10_000 * seed + room, success=good,
        reached=kind in {"good", "wrong"}, right_side=kind in {"good", "lost"}, collided=kind == "hit",
        spl=0.9 if good else 0.0, steps=steps, duration_s=0.3 * steps, distance_m=0.2 * steps, path=path, shift=shift,
    )  # fmt: skip


def _room_metrics(outcomes):
    shifts = list(dict.fromkeys(item.shift for item in outcomes))
    made = []
    for shift in shifts:
        here = [item for item in outcomes if item.shift == shift]
        who = list(dict.fromkeys(item.policy for item in here))
        for scenario in (None, *SCENARIOS):
            made += _in_rooms(here, who, shift, scenario)
    return made


def _in_rooms(outcomes, drivers, shift, scenario):
    part = {
        who: [item for item in outcomes if item.policy == who and scenario in {None, item.scenario}] for who in drivers
    }
    for who in (EXPERT, STRAIGHT_AHEAD, BLIND):  # the sample's references do not mind what is shifted
        part.setdefault(who, part["ensemble"])
    n = len(part["ensemble"])
    sample = RoomSample(simulator=SIMULATOR, seed=0, rooms=n, shift=shift, scenario=scenario)
    rates = {"success": "success", "reached": "reached", "right-side": "right_side", "collisions": "collided"}
    means = {"spl": "spl", "steps": "steps", "duration-s": "duration_s", "distance-m": "distance_m"}
    for name, attribute in rates.items():
        counted = {who: sum(getattr(item, attribute) for item in mine) for who, mine in part.items()}
        figures = {who: wilson_of(count, n) for who, count in counted.items()}
        yield Metric(name=name, sample=sample, figures=figures)
    for name, attribute in means.items() if scenario is None else ():
        counted = {who: float(np.mean([getattr(item, attribute) for item in mine])) for who, mine in part.items()}
        figures = {who: around(value, 0.05, n, "bootstrap-by-trial", low=0.0) for who, value in counted.items()}
        yield Metric(name=name, sample=sample, figures=figures)


def _pair(outcomes, reference):
    won = {
        who: [item.success for item in outcomes if item.policy == who and item.shift == UNSHIFTED]
        for who in ("ensemble", reference)
    }
    mine, theirs = np.array(won["ensemble"]), np.array(won[reference])
    gain, n = float(mine.mean() - theirs.mean()), len(mine)
    decided = "better" if gain > 0.4 else "open"
    return PairedTrials(
        subject="ensemble", reference=reference, rooms=n, both=int((mine & theirs).sum()),
        subject_only=int((mine & ~theirs).sum()), reference_only=int((theirs & ~mine).sum()),
        neither=int((~mine & ~theirs).sum()), difference=around(gain, 0.18, n, "newcombe-paired", low=-1.0, high=1.0),
        p_value=0.00004 if decided == "better" else 0.34, e_better=812.0 if decided == "better" else 0.7, e_worse=0.01,
        decided=decided, decided_after=8 if decided == "better" else None,
    )  # fmt: skip


def _shifts(outcomes):
    made = []
    for name, family, what in SHIFTS:
        here = {item.room: item.success for item in outcomes if item.policy == "ensemble" and item.shift == name}
        before = {item.room: item.success for item in outcomes if item.policy == "ensemble" and item.shift == UNSHIFTED}
        loss = float(np.mean([before[room] - won for room, won in here.items()]))
        made.append(ShiftEffect(shift=name, family=family, what=what, loss=around(loss, 0.2, 16, "newcombe-paired")))
    return tuple(made)


def full_material(outcomes=None, *, hostile=None):
    """Sixteen test episodes of noise with a bright patch, and a policy that is right three times of four."""
    rng = np.random.default_rng(3)
    episodes, predicted = [], []
    for index in range(16):
        keys = rng.choice(list("WWWWQEAD"), 17)
        actions = np.stack([KEYS["space"], *(KEYS[key] for key in keys)]).astype(np.float32)
        frames = np.repeat(np.repeat(rng.integers(90, 150, (18, 9, 16, 3)), 5, 1), 5, 2).astype(np.uint8)
        frames[:, 20:35, 20:40] = (200, 150, 60)
        scenario = SCENARIOS[index % 8]
        episodes.append(
            EpisodeFrames(
                sha256=f"{index:064x}", name=f"episode_{index}", robot="robot-1", session="s", scenario=scenario,
                instruction=hostile or instruction_for(scenario), frames=frames, actions=actions,
            )
        )  # fmt: skip
        wrong = (rng.random(18) < 0.25)[:, None]
        predicted.append(np.where(wrong, KEYS["W"], actions).astype(np.float32))
    truth = Truth(
        tuple(item.actions for item in episodes), tuple(item.scenario for item in episodes), VARYING, keys=True
    )
    heat = np.zeros((9, 16))
    heat[4:7, 4:8] = [0.3, 0.8, 1.0, 0.5]
    return Material(
        truth, episodes, predicted, full_outcomes() if outcomes is None else outcomes,
        saliency=dict.fromkeys(chosen_frames(episodes, seed=0), heat),
    )  # fmt: skip
