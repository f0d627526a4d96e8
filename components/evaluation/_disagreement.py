"""How far an ensemble's members are apart, and what that is worth: does it tell errors, does it tell what is new?

What is not covered: members that agree on what is wrong, which no disagreement shows; presses of a closed loop (frames
are the expert's, so that a shift is told by what is seen and heard, and not by where a worse policy got to).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from components.contracts import (
    AXES,
    UNSHIFTED,
    Axis,
    Disagreement,
    Ensemble,
    FrameSample,
    Novelty,
    RiskPoint,
)
from components.contracts.errors import EvidenceError
from components.datasets import EpisodeFrames
from components.policies import Predictions, StepModule, load_module, predict_with
from components.storage import ObjectStore

from ._calibration import Keyboard
from ._clustered import auroc, lay_out, rate_of_frames
from ._intervals import Array
from ._metrics import right_frames
from ._truth import Truth

COVERAGES = tuple(step / 10 for step in range(1, 11))
UNFELT = ("motor slip", "latency", "dropped frames")
"""Families of shifts that change no single frame and no word: nothing that looks at frames one by one can tell them."""
IN_NATS = "Jensen-Shannon divergence of the members' key distributions with the ensemble's weights, in nats a frame"
SPREAD = "standard deviation of the members' actions with the ensemble's weights, mean over the axes"
_DECIMALS = 6
"""What differs by less is rounding in other orders of the same sums: a tie, and no sign of anything."""
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What members together do not know of one episode's frames, frame 0 too."""

    disagreement: Array
    """(T,) `IN_NATS`, or `SPREAD` where actions are continuous."""
    entropy: Array
    """(T,) nats: of their mixture over keys, disagreement and what every member is unsure of. NaN where actions are
    continuous."""


def uncertainty(members: Sequence[Predictions], weights: Sequence[float], axes: Sequence[Axis]) -> Uncertainty:
    """One episode's frames.

    Args:
        members: Each member's answer to the same frames.
        weights: Convex, one a member.
        axes: The axes that vary.
    """
    scores, share = [item.scores for item in members], np.asarray(weights, dtype=float)
    if scores[0].ndim == 2:
        values = np.stack(scores)[:, :, [AXES.index(axis) for axis in axes]].astype(float)
        mean = np.tensordot(share, values, 1)
        apart = np.sqrt(np.tensordot(share, (values - mean) ** 2, 1)).mean(axis=-1)
        return Uncertainty(apart.round(_DECIMALS), np.full(len(apart), np.nan))
    keyboard = Keyboard(axes)
    told = np.stack([keyboard.probabilities(item) for item in scores])
    entropy = _entropy(np.tensordot(share, told, 1))
    apart = np.maximum(entropy - np.tensordot(share, _entropy(told), 1), 0.0)
    return Uncertainty(apart.round(_DECIMALS), entropy)


def _entropy(probabilities: Array) -> Array:
    """(..., K) -> (...) nats."""
    return np.asarray(-(probabilities * np.log(probabilities + _TINY)).sum(axis=-1))


def disagree(
    truth: Truth,
    sample: FrameSample,
    ensemble: Ensemble,
    predictions: Mapping[str, Sequence[Predictions]],
    *,
    novelty: tuple[Novelty, ...] = (),
    seed: int,
) -> Disagreement | None:
    """The members' disagreement on the test split, against the ensemble's errors.

    The risk-coverage curve takes the frames on which the members agree most. Frames that tie at its edge count in
    part, so that a curve does not depend on their order.

    Args:
        sample: All frames and varying axes.
        predictions: By name, in `truth`'s order: the ensemble's and its members' at least.
        novelty: Of `detect_novelty`, where there is a simulation.
        seed: Of the bootstrap.

    Returns:
        None where there is one member: nobody disagrees.

    Raises:
        EvidenceError: a member without predictions.
    """
    if len(ensemble.members) < 2:
        return None
    names = [member.name for member in ensemble.members]
    if missing := [name for name in [ensemble.name, *names] if name not in predictions]:
        raise EvidenceError(
            f"expected predictions of {ensemble.name} and each of its members, without: {', '.join(missing)}; "
            "evaluate an ensemble with its members"
        )
    members = zip(*(predictions[name] for name in names), strict=True)
    apart, owner = lay_out([uncertainty(item, ensemble.weights, sample.axes).disagreement for item in members])
    right = right_frames(truth, sample, [item.actions for item in predictions[ensemble.name]]).astype(float)
    curve = []
    for coverage in COVERAGES:
        accuracy = rate_of_frames(right, _most_agreed(apart, coverage), owner, seed=seed)
        assert accuracy is not None  # a tenth of the frames weighs something
        curve.append(RiskPoint(coverage=coverage, key_accuracy=accuracy))
    return Disagreement(
        measure=IN_NATS if truth.keys else SPREAD,
        sample=sample,
        error_auroc=auroc(apart, right < 1, owner, seed=seed),
        risk=tuple(curve),
        novelty=novelty,
    )


def _most_agreed(apart: Array, coverage: float) -> Array:
    """(N,) weights of sum coverage x N on the least disagreement."""
    wanted = coverage * len(apart)
    edge = np.sort(apart)[min(len(apart) - 1, int(np.ceil(wanted - 1e-9)) - 1)]
    below, tied = apart < edge, apart == edge
    return np.asarray(np.where(tied, np.clip((wanted - below.sum()) / tied.sum(), 0, 1), below.astype(float)))


def tell_apart(shift: str, usual: Sequence[Array], shifted: Sequence[Array], *, seed: int) -> Novelty:
    """Whether disagreement is higher under a shift.

    Args:
        shift: Its name.
        usual: (T,) disagreement a room, frame 0 too.
        shifted: The same rooms in the same order under the shift; lengths may differ.
        seed: Of the bootstrap over rooms, each with both of its drives.
    """
    (before, rooms), (after, same_rooms) = lay_out(usual), lay_out(shifted)
    found = auroc(
        np.concatenate([before, after]),
        np.repeat([False, True], [len(before), len(after)]),
        np.concatenate([rooms, same_rooms]),
        seed=seed,
        method="bootstrap-by-trial",
    )
    assert found is not None  # every room has frames of both kinds
    return Novelty(shift=shift, auroc=found)


def detect_novelty(
    store: ObjectStore,
    ensemble: Ensemble,
    rooms: Sequence[tuple[str, int]],
    axes: Sequence[Axis],
    *,
    seed: int,
    workers: int = 1,
) -> tuple[Novelty, ...]:
    """Disagreement on the expert's drives in rooms of the simulation, with and without each shift. Simulated.

    Motor slip, latency and dropped frames change no single frame, and are left out.

    Args:
        store: Holds the members' weights.
        ensemble: Of two members at least; otherwise nothing comes back.
        rooms: (scenario, seed); at least two.
        axes: The axes that vary.
        seed: Of the bootstrap.
        workers: Processes of Ray's; 1 does it in this one, without Ray.

    Raises:
        PolicyError, IntegrityError: weights that cannot be loaded.
    """
    from components.simulation import SHIFTS, warm_up  # here: shifts need the simulator, figures do not

    if len(ensemble.members) < 2 or not rooms:
        return ()
    modules = [load_module(store, member) for member in ensemble.members]
    ask = partial(_apart_under, modules, ensemble.weights, tuple(axes), tuple(rooms))
    names = [UNSHIFTED, *(shift.name for shift in SHIFTS if shift.family not in UNFELT)]
    if workers == 1:
        found = {name: ask(name) for name in names}
    else:
        from components.training import share_out

        warm_up()  # so that the processes find the compiled camera
        with share_out(partial(partial, ask), workers=workers) as crew:
            found = {names[index]: apart for index, apart in crew.each(names)}
    return tuple(tell_apart(name, found[UNSHIFTED], found[name], seed=seed) for name in names[1:])


def _apart_under(
    modules: Sequence[StepModule],
    weights: Sequence[float],
    axes: Sequence[Axis],
    rooms: Sequence[tuple[str, int]],
    shift: str,
) -> list[Array]:
    """(T,) disagreement a room, on the expert's drive under a shift."""
    from components.simulation import record_expert, shift_named

    recorded = [
        EpisodeFrames(
            sha256=f"{item.seed:064x}", name=f"{item.scenario}-{item.seed}", robot="simulated", session="expert",
            scenario=item.scenario, instruction=item.instruction, frames=item.frames, actions=item.actions,
        )
        for item in record_expert(rooms, frame=modules[0].frame, shift=shift_named(shift), workers=1)
    ]  # fmt: skip
    answers = zip(*(predict_with(module, recorded) for module in modules), strict=True)
    return [uncertainty(item, weights, axes).disagreement for item in answers]
