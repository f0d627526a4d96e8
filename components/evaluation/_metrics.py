"""Open-loop figures of one policy: plain arrays in, an `OpenLoopScore` out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT, AXES, Axis, Comparison, Estimate, OpenLoopScore
from components.contracts.errors import EvidenceError

from ._intervals import RATE, Array, Bootstrap, Bounds, Figure, Method, Table

Role = Literal["member", "ensemble", "baseline", "incumbent"]
Actions = NDArray[np.float32]
"""(T, 3): m/s, m/s, rad/s."""
WITHIN = (0.3, 0.2, 0.15, 0.1)
CONTINUOUS_WITHIN = 0.15
LARGEST_ERROR = 2 * ACTION_LIMIT
_ERROR = Bounds(0.0, LARGEST_ERROR)
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Truth:
    """What the operators did on the frames that count: frame 0 left out, varying axes alone."""

    episodes: tuple[Actions, ...]
    """(T, 3) each, whole."""
    scenarios: tuple[str | None, ...]
    axes: tuple[Axis, ...]
    keys: bool
    """The actions are key presses."""

    def __post_init__(self) -> None:
        if len(self.episodes) < 2:
            raise EvidenceError(
                f"expected at least 2 test episodes, got {len(self.episodes)}: one episode has no interval. Collect "
                "more, or give the test split a larger share"
            )
        if not self.axes:
            raise EvidenceError(
                "expected an axis that varies in the training split, got none: there is nothing to score"
            )

    @property
    def columns(self) -> list[int]:
        return [AXES.index(axis) for axis in self.axes]

    def frames(self, actions: Sequence[Actions]) -> Array:
        """(T, 3) an episode -> (N, A) float64: frames 1.. end to end, varying axes.

        Raises:
            EvidenceError: not one row a frame, or not finite.
        """
        for index, (mine, theirs) in enumerate(zip(actions, self.episodes, strict=True)):
            if mine.shape != theirs.shape or not np.isfinite(mine).all():
                raise EvidenceError(
                    f"test episode {index}: expected finite actions {theirs.shape}, got {mine.shape}"
                    f"{'' if np.isfinite(mine).all() else ' with NaN or infinity'}"
                )
        return np.concatenate([np.asarray(item[1:, self.columns], dtype=float) for item in actions])

    @property
    def owner(self) -> NDArray[np.int64]:
        """(N,): the episode of each frame."""
        return np.repeat(np.arange(len(self.episodes)), [len(item) - 1 for item in self.episodes])


def key_levels(actions: Array) -> NDArray[np.int64]:
    """(..., A) -> (...,): one number a key press, each axis rounded to -limit, 0 or +limit."""
    levels = np.rint(np.clip(actions / ACTION_LIMIT, -1, 1)).astype(np.int64) + 1
    return cast("NDArray[np.int64]", levels @ (3 ** np.arange(actions.shape[-1])))


def tabulate(truth: Truth, predicted: Sequence[Actions]) -> Table:
    """Per-episode sums from which every figure follows; see `Table`."""
    y, p = truth.frames(truth.episodes), truth.frames(predicted)
    error = np.abs(y - p)
    pressed, guessed = key_levels(y), key_levels(p)
    keys = np.unique(pressed)
    right = (pressed == guessed) if truth.keys else np.all(error <= CONTINUOUS_WITHIN + _ROUNDING, axis=1)
    per_frame: dict[str, Array] = {
        "frames": np.ones((len(y), 1)),
        "error": error,
        "right": np.asarray(right, dtype=float)[:, None],
        "within": np.stack([(error <= limit + _ROUNDING).all(axis=1) for limit in WITHIN], axis=1).astype(float),
        "hit": ((pressed == guessed)[:, None] & (pressed[:, None] == keys)).astype(float),
        "pressed": (pressed[:, None] == keys).astype(float),
        "guessed": (guessed[:, None] == keys).astype(float),
        "y": y, "p": p, "yy": y * y, "pp": p * p, "yp": y * p, "squared": error**2,
    }  # fmt: skip
    starts = np.flatnonzero(np.diff(truth.owner, prepend=-1))
    if len(starts) < len(truth.episodes):
        raise EvidenceError("expected at least one frame after frame 0 in every test episode; check the dataset")
    return {name: np.add.reduceat(rows, starts, axis=0) for name, rows in per_frame.items()}


def _mean_error(sums: Table) -> Array:
    return np.asarray(sums["error"].mean(axis=-1) / sums["frames"][..., 0])


def _axis_error(column: int) -> Figure:
    return lambda sums: sums["error"][..., column] / sums["frames"][..., 0]


def _share(name: str, column: int = 0) -> Figure:
    return lambda sums: sums[name][..., column] / sums["frames"][..., 0]


def _macro_f1(sums: Table) -> Array:
    """F1 = 2 hits / (pressed + guessed), over keys that are pressed or guessed in the draw."""
    return np.asarray(np.nanmean(2 * sums["hit"] / (sums["pressed"] + sums["guessed"]), axis=-1))


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


def score(
    name: str,
    role: Role,
    truth: Truth,
    predicted: Sequence[Actions],
    *,
    seed: int,
) -> OpenLoopScore:
    """All open-loop figures of one policy or baseline, each with its interval.

    Args:
        predicted: (T, 3) an episode, in `truth`'s order.
        seed: Of the bootstrap; equal seeds draw equal episodes.

    Raises:
        EvidenceError: predictions that are not one finite row a frame.
    """
    table = tabulate(truth, predicted)
    bootstrap = Bootstrap(len(truth.episodes), seed=seed)

    def optional(figure: Figure, bounds: Bounds) -> Estimate | None:
        return bootstrap.estimate(table, figure, bounds, "bootstrap-by-episode")

    def certain(figure: Figure, bounds: Bounds) -> Estimate:
        return _certain(bootstrap, table, figure, bounds, "bootstrap-by-episode")

    return OpenLoopScore(
        name=name,
        role=role,
        mae=certain(_mean_error, _ERROR),
        mae_by_axis={axis: certain(_axis_error(column), _ERROR) for column, axis in enumerate(truth.axes)},
        mae_by_scenario=_by_scenario(truth, table, seed),
        key_accuracy=certain(_share("right"), RATE),
        macro_f1=optional(_macro_f1, RATE) if truth.keys else None,
        accuracy_within={str(limit): certain(_share("within", column), RATE) for column, limit in enumerate(WITHIN)},
        r2=optional(_r2, Bounds(high=1.0)),
        correlation=optional(_correlation, Bounds(-1.0, 1.0)),
    )


def _by_scenario(truth: Truth, table: Table, seed: int) -> dict[str, Estimate]:
    """Episodes without a scenario belong to none and appear in none."""
    found: dict[str, Estimate] = {}
    for scenario in sorted({item for item in truth.scenarios if item is not None}):
        rows = [index for index, item in enumerate(truth.scenarios) if item == scenario]
        part = {name: values[rows] for name, values in table.items()}
        bootstrap = Bootstrap(len(rows), seed=seed)
        found[scenario] = _certain(bootstrap, part, _mean_error, _ERROR, "bootstrap-by-episode")
    return found


def mae_difference(truth: Truth, worse: Sequence[Actions], better: Sequence[Actions], *, seed: int) -> Estimate:
    """MAE of `worse` minus MAE of `better`, paired: both are resampled by the same draws of episodes."""
    table = dict(tabulate(truth, better))
    table["other"] = tabulate(truth, worse)["error"]
    return _certain(
        Bootstrap(len(truth.episodes), seed=seed),
        table,
        lambda sums: (sums["other"] - sums["error"]).mean(axis=-1) / sums["frames"][..., 0],
        Bounds(-LARGEST_ERROR, LARGEST_ERROR),
        "paired-bootstrap-by-episode",
    )


def compare(
    truth: Truth, subject: tuple[str, Sequence[Actions]], reference: tuple[str, Sequence[Actions]], *, seed: int
) -> Comparison:
    """How much lower the subject's MAE is than the reference's, on the same episodes."""
    gain = mae_difference(truth, worse=reference[1], better=subject[1], seed=seed)
    return Comparison(subject=subject[0], reference=reference[0], mae_gain=gain)


def _certain(bootstrap: Bootstrap, table: Table, figure: Figure, bounds: Bounds, method: Method) -> Estimate:
    estimate = bootstrap.estimate(table, figure, bounds, method)
    assert estimate is not None  # bounded figures of finite frames are always defined
    return estimate
