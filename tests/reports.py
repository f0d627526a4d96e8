"""Reports that the contracts accept, with figures of one's choice: for tests that need one and measure nothing."""

from collections.abc import Mapping
from typing import Any

from components.contracts import (
    AXES,
    BASELINES,
    BLIND,
    DRIVERS,
    EXPERT,
    FIRST_FRAME_WARNING,
    INCUMBENT,
    Ablation,
    AblationName,
    Axis,
    Comparison,
    Ensemble,
    Estimate,
    EvaluationInputs,
    EvaluationReport,
    FrameSample,
    LeakCheck,
    Lineage,
    Method,
    Metric,
    ObjectRef,
    PairedTrials,
    PolicySpec,
    RoomSample,
    TrainedPolicy,
    TrialPlan,
)

DIGEST = "a" * 64
REF = ObjectRef(uri="s3://models/blobs/x", sha256=DIGEST, size=1000)
LINEAGE = Lineage(code_revision="test", python="3.11", packages={}, machine="test")
SIMULATOR = "a simulator"
_SHARES = ("key-accuracy", "macro-f1", "within-0.3", "within-0.2", "within-0.15", "within-0.1")


def estimate(value: float, spread: float = 0.01, n: int = 20, method: Method = "bootstrap-by-episode") -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=n, method=method)


def make_member(name: str = "one", *, axes: tuple[Axis, ...] = ("linear_x",), dataset: str = DIGEST) -> TrainedPolicy:
    return TrainedPolicy(
        name=name, spec=PolicySpec(recipe="compact", axes=axes), vocabulary=(), weights=REF, dataset=dataset, curve=(),
        best_epoch=0, lineage=LINEAGE,
    )  # fmt: skip


def make_ensemble(*members: TrainedPolicy, loss: float = 1.0) -> Ensemble:
    """`loss` makes it another one."""
    members = members or (make_member(),)
    return Ensemble(
        members=members, weights=(1 / len(members),) * len(members), dataset=members[0].dataset, validation_loss=loss,
        validation_loss_held_out=loss,
    )  # fmt: skip


def make_report(
    subject: Ensemble | TrainedPolicy | None = None,
    *,
    mae: float = 0.1,
    others: float = 0.3,
    spread: float = 0.05,
    incumbent: tuple[Ensemble, float] | None = None,
    success: float | None = 0.7,
    incumbent_success: float = 0.65,
    plan: TrialPlan | None = None,
    dataset: str = DIGEST,
    axes: tuple[Axis, ...] = ("linear_x",),
    frames: int = 17,
    **changes: Any,
) -> EvaluationReport:
    """On 20 episodes that are alike from frame to frame and from axis to axis.

    Args:
        subject: None: `make_ensemble()`.
        mae: the policies'.
        others: the baselines' MAE.
        spread: half the width of paired intervals.
        incumbent: who, and its MAE.
        success: closed loop; None: the data is a robot's, and nothing was driven.
        changes: fields of the report to put in the place of the made ones.
    """
    subject = subject or make_ensemble()
    ensemble = subject if isinstance(subject, Ensemble) else make_ensemble(subject)
    whole = FrameSample(dataset=dataset, simulated=success is not None, axes=axes)
    maes = {policy.name: mae for policy in (*ensemble.members, ensemble)} | dict.fromkeys(BASELINES, others)
    maes |= {INCUMBENT: incumbent[1]} if incumbent else {}
    plan = plan or TrialPlan()
    rates = dict.fromkeys(DRIVERS, 0.1) | {EXPERT: 0.95, BLIND: 0.2, subject.name: success or 0.0}
    rates |= {INCUMBENT: incumbent_success} if incumbent else {}
    rates = {name: round(rate * plan.rooms) / plan.rooms for name, rate in rates.items()}
    driven = _driven(rates, plan) if success is not None else ()
    facts: dict[str, Any] = {
        "subject": subject.name, "subject_digest": subject.digest(), "dataset": dataset,
        "sources": ("simulated",) if success is not None else ("robot",), "frames": 20 * frames, "episodes": 20,
        "axes": axes, "constant_axes": tuple(axis for axis in AXES if axis not in axes),
        "metrics": (*_measured(whole, maes, frames), *driven),
        "comparisons": tuple(
            Comparison(
                subject=subject.name, reference=name, sample=whole, key_accuracy_gain=estimate(0, 0.1),
                mae_gain=estimate(value - mae, spread, method="paired-bootstrap-by-episode"),
            )
            for name, value in maes.items()
            if name != subject.name
        ),
        "leaks": LeakCheck(test_episodes=20, other_episodes=80, leaks=()),
        "ablations": make_ablations(whole),
        "paired_trials": tuple(pair(subject.name, name, rates, plan) for name in rates if name != subject.name)
        if driven else (),
        "trials": REF if driven else None, "lineage": LINEAGE,
        "inputs": EvaluationInputs(
            members=ensemble.members, ensemble=ensemble, incumbent=incumbent[0] if incumbent else None,
            trials=plan if driven else None, seed=0,
        ),
    }  # fmt: skip
    return EvaluationReport.model_validate(facts | changes)


def _measured(whole: FrameSample, maes: Mapping[str, float], frames: int) -> list[Metric]:
    samples = [whole]
    samples += [whole.model_copy(update={"axes": (axis,)}) for axis in whole.axes if len(whole.axes) > 1]
    samples += [whole.model_copy(update={"frame": frame}) for frame in range(1, frames + 1)]
    figures = {name: estimate(value) for name, value in maes.items()}
    shares = dict.fromkeys(maes, estimate(0.5))
    first = whole.model_copy(update={"protocol": "first-frame"})
    return [
        *(Metric(name="mae", sample=sample, figures=figures) for sample in samples),
        *(Metric(name=name, sample=whole, figures=shares) for name in _SHARES),
        Metric(name="mae", sample=first, figures=dict.fromkeys(maes, estimate(0)), warning=FIRST_FRAME_WARNING),
    ]


def make_ablations(whole: FrameSample, **losses: float) -> tuple[Ablation, ...]:
    """All six as they are of a policy that sees, listens and understands; `losses` by name, `_` for `-`."""
    expected: dict[AblationName, float] = dict.fromkeys(
        ("blank-images", "shuffled-images", "frozen-images", "swapped-instruction", "blank-instruction"), 0.3
    )
    expected["paraphrased-instruction"] = 0.0
    found = []
    for name, usual in expected.items():
        loss = losses.get(name.replace("-", "_"), usual)
        stays = name == "paraphrased-instruction"
        margin = 0.05 if stays else 0.0
        found.append(
            Ablation(
                name=name, sample=whole, mae=estimate(0.1 + loss),
                mae_loss=estimate(loss, 0.02, method="paired-bootstrap-by-episode"),
                expects="stays" if stays else "rises", margin=margin, expected="in words",
                held=abs(loss) + 0.02 <= margin if stays else loss > 0.02,
            )
        )  # fmt: skip
    return tuple(found)


def _driven(rates: Mapping[str, float], plan: TrialPlan) -> list[Metric]:
    sample = RoomSample(simulator=SIMULATOR, seed=10**9, rooms=plan.rooms)
    rate: Method = "anytime" if plan.stop_early else "wilson"

    def metric(name: str, figures: dict[str, Estimate]) -> Metric:
        return Metric.model_validate({"name": name, "sample": sample, "figures": figures})

    shares = {name: estimate(value, 0.08, plan.rooms, rate) for name, value in rates.items()}
    means = {name: estimate(9.0, 1.0, plan.rooms, "bootstrap-by-trial") for name in rates}
    return [
        *(metric(name, shares) for name in ("success", "reached", "right-side", "collisions")),
        *(metric(name, means) for name in ("spl", "steps", "duration-s", "distance-m")),
    ]


def pair(subject: str, reference: str, rates: Mapping[str, float], plan: TrialPlan, **changes: Any) -> PairedTrials:
    """Where the weaker of both succeeds, the other one does too; nothing is decided."""
    mine, theirs = (round(rates[name] * plan.rooms) for name in (subject, reference))
    method: Method = "anytime-paired" if plan.stop_early else "newcombe-paired"
    facts: dict[str, Any] = {
        "subject": subject, "reference": reference, "rooms": plan.rooms, "both": min(mine, theirs),
        "subject_only": max(mine - theirs, 0), "reference_only": max(theirs - mine, 0),
        "neither": plan.rooms - max(mine, theirs), "p_value": None if plan.stop_early else 0.5,
        "difference": estimate((mine - theirs) / plan.rooms, 0.09, plan.rooms, method),
        "e_better": 1.0, "e_worse": 1.0, "decided": "open", "decided_after": None,
    }  # fmt: skip
    return PairedTrials.model_validate(facts | changes)
