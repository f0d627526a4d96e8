"""Open-loop figures: plain arrays in, metrics with intervals and baselines out."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from components.contracts import (
    ACTION_LIMIT,
    AXES,
    FIRST_FRAME_WARNING,
    Comparison,
    Estimate,
    FrameMetric,
    FrameSample,
    Metric,
)

from ._intervals import RATE, Array, Bootstrap, Bounds, Figure, Table
from ._truth import Actions, Truth

WITHIN = (0.3, 0.2, 0.15, 0.1)
CONTINUOUS_WITHIN = 0.15
_ERROR = Bounds(0.0, scale=2 * ACTION_LIMIT)
"""A recorded action is whatever was recorded: the error has no largest value."""
_GAIN = Bounds()
_ROUNDING = 1e-5


def key_levels(actions: Array) -> NDArray[np.int64]:
    """(..., A) -> (...,): one number a key press, each axis rounded to -limit, 0 or +limit."""
    levels = np.rint(np.clip(actions / ACTION_LIMIT, -1, 1)).astype(np.int64) + 1
    return cast("NDArray[np.int64]", levels @ (3 ** np.arange(actions.shape[-1])))


def measure(
    truth: Truth, whole: FrameSample, predicted: Mapping[str, Sequence[Actions]], *, seed: int
) -> tuple[Metric, ...]:
    """Every open-loop metric, on every slice of the test split that it is defined on.

    Args:
        whole: the sample of all frames and all varying axes.
        predicted: policy or baseline -> (T, 3) an episode, in `truth`'s order.
        seed: of the bootstrap and of the random frames; equal seeds draw equal episodes for everybody.

    Raises:
        EvidenceError: predictions that are not one finite row a frame.
    """
    rows: dict[tuple[str, ...], dict[str, Table]] = {}
    found = []
    for sample, counted in truth.slices(whole, seed=seed):
        if sample.axes not in rows:
            rows[sample.axes] = {name: _per_frame(truth, sample, did) for name, did in predicted.items()}
        bootstrap = Bootstrap(len(np.unique(truth.owners[counted])), seed=seed)
        drawn = {
            name: bootstrap.of(_by_episode(table, truth.owners, counted)) for name, table in rows[sample.axes].items()
        }
        warning = FIRST_FRAME_WARNING if sample.protocol == "first-frame" else None
        for metric, (figure, bounds) in _figures(truth).items():
            figures = {name: item.estimate(figure, bounds, "bootstrap-by-episode") for name, item in drawn.items()}
            known = {name: estimate for name, estimate in figures.items() if estimate is not None}
            if len(known) == len(figures):  # what is undefined for one, such as R2 of a constant truth, is for all
                found.append(Metric(name=metric, sample=sample, figures=known, warning=warning))
    return tuple(found)


def _figures(truth: Truth) -> dict[FrameMetric, tuple[Figure, Bounds]]:
    within: dict[FrameMetric, tuple[Figure, Bounds]] = {
        cast("FrameMetric", f"within-{limit}"): (_share("within", column), RATE) for column, limit in enumerate(WITHIN)
    }
    f1: dict[FrameMetric, tuple[Figure, Bounds]] = {"macro-f1": (_macro_f1, RATE)} if truth.keys else {}
    return {
        "mae": (_mean_error, _ERROR),
        "key-accuracy": (_share("right"), RATE),
        **f1,
        **within,
        "r2": (_r2, Bounds(high=1.0)),
        "correlation": (_correlation, Bounds(-1.0, 1.0)),
    }


def _per_frame(truth: Truth, sample: FrameSample, predicted: Sequence[Actions]) -> Table:
    """(M, k) by name: what each frame adds to the sums that figures are functions of."""
    columns = [AXES.index(axis) for axis in sample.axes]
    y = truth.whole(truth.episodes)[:, columns]
    p = np.clip(truth.whole(predicted)[:, columns], -ACTION_LIMIT, ACTION_LIMIT)  # as robots do
    error = np.abs(y - p)
    pressed, guessed = key_levels(y), key_levels(p)
    keys = np.unique(pressed[truth.steps > 0])
    right = (pressed == guessed) if truth.keys else np.all(error <= CONTINUOUS_WITHIN + _ROUNDING, axis=1)
    return {
        "frames": np.ones((len(y), 1)),
        "error": error,
        "right": np.asarray(right, dtype=float)[:, None],
        "within": np.stack([(error <= limit + _ROUNDING).all(axis=1) for limit in WITHIN], axis=1).astype(float),
        "hit": ((pressed == guessed)[:, None] & (pressed[:, None] == keys)).astype(float),
        "pressed": (pressed[:, None] == keys).astype(float),
        "guessed": (guessed[:, None] == keys).astype(float),
        "y": y, "p": p, "yy": y * y, "pp": p * p, "yp": y * p, "squared": error**2,
    }  # fmt: skip


def right_frames(truth: Truth, sample: FrameSample, predicted: Sequence[Actions]) -> NDArray[np.bool_]:
    """(N,): the frames after frame 0 that `key-accuracy` counts as right."""
    rows = _per_frame(truth, sample, predicted)["right"]
    return np.asarray(rows[truth.steps > 0, 0] > 0)


def _by_episode(rows: Table, owners: NDArray[np.int64], counted: NDArray[np.bool_]) -> Table:
    """(M, k) frames -> (n, k): sums over the counted frames of each episode that has some."""
    starts = np.flatnonzero(np.diff(owners[counted], prepend=-1))
    return {name: np.add.reduceat(values[counted], starts, axis=0) for name, values in rows.items()}


def tabulate(truth: Truth, whole: FrameSample, predicted: Sequence[Actions]) -> Table:
    """Per-episode sums over all frames but frame 0; see `intervals.Table`."""
    return _by_episode(_per_frame(truth, whole, predicted), truth.owners, truth.steps > 0)


def _mean_error(sums: Table) -> Array:
    return np.asarray(sums["error"].mean(axis=-1) / sums["frames"][..., 0])


def _share(name: str, column: int = 0) -> Figure:
    return lambda sums: sums[name][..., column] / sums["frames"][..., 0]


def _macro_f1(sums: Table) -> Array:
    """F1 = 2 hits / (pressed + guessed), over keys that are pressed or guessed in the draw."""
    met = sums["pressed"] + sums["guessed"]
    f1 = np.where(met > 0, 2 * sums["hit"] / met, 0.0)
    return np.asarray(f1.sum(axis=-1) / (met > 0).sum(axis=-1))


def _variance(sums: Table, name: str) -> Array:
    """Sum of squares about the mean, 0 where it is rounding."""
    total = sums[name * 2] - sums[name] ** 2 / sums["frames"]
    return np.where(total > 1e-9 * np.maximum(sums[name * 2], 1e-12), total, 0.0)


def _over_varying(sums: Table, per_axis: Array) -> Array:
    """Mean over the axes whose truth varies; NaN where none does."""
    varies = _variance(sums, "y") > 0
    return np.asarray(np.where(varies, per_axis, 0.0).sum(axis=-1) / varies.sum(axis=-1))


def _r2(sums: Table) -> Array:
    return _over_varying(sums, 1 - sums["squared"] / _variance(sums, "y"))


def _correlation(sums: Table) -> Array:
    spread = np.sqrt(_variance(sums, "y") * _variance(sums, "p"))
    together = sums["yp"] - sums["y"] * sums["p"] / sums["frames"]
    return _over_varying(sums, np.where(spread > 0, np.clip(together / spread, -1, 1), 0.0))


def measure_mae(truth: Truth, whole: FrameSample, predicted: Sequence[Actions], *, seed: int) -> Estimate:
    """The MAE alone, over all frames but frame 0."""
    bootstrap = Bootstrap(len(truth.episodes), seed=seed)
    found = bootstrap.estimate(tabulate(truth, whole, predicted), _mean_error, _ERROR, "bootstrap-by-episode")
    assert found is not None  # bounded figures of finite frames are always defined
    return found


def mae_difference(
    truth: Truth, whole: FrameSample, *, worse: Sequence[Actions], better: Sequence[Actions], seed: int
) -> Estimate:
    """MAE of `worse` minus MAE of `better`, paired: both are resampled by the same draws of episodes."""
    return _paired(tabulate(truth, whole, worse), tabulate(truth, whole, better), _mean_error, _GAIN, seed)


def compare(
    truth: Truth,
    whole: FrameSample,
    subject: tuple[str, Sequence[Actions]],
    reference: tuple[str, Sequence[Actions]],
    *,
    seed: int,
) -> Comparison:
    """How much better the subject is than the reference, on the same episodes."""
    mine, theirs = tabulate(truth, whole, subject[1]), tabulate(truth, whole, reference[1])
    return Comparison(
        subject=subject[0],
        reference=reference[0],
        sample=whole,
        mae_gain=_paired(theirs, mine, _mean_error, _GAIN, seed),
        key_accuracy_gain=_paired(mine, theirs, _share("right"), Bounds(-1.0, 1.0), seed),
    )


def _paired(more: Table, less: Table, figure: Figure, bounds: Bounds, seed: int) -> Estimate:
    """The figure of one table minus that of the other, over the same episodes."""
    both = {f"0{name}": rows for name, rows in more.items()} | {f"1{name}": rows for name, rows in less.items()}

    def of(which: str, sums: Table) -> Table:
        return {name[1:]: rows for name, rows in sums.items() if name[0] == which}

    found = Bootstrap(len(more["frames"]), seed=seed).estimate(
        both, lambda sums: figure(of("0", sums)) - figure(of("1", sums)), bounds, "paired-bootstrap-by-episode"
    )
    assert found is not None  # bounded figures of finite frames are always defined
    return found
