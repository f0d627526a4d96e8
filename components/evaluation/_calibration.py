"""Probabilities over keys, and whether they mean what they say.

What is not covered: what a robot does with them. It presses the key of least expected error (policies' `decode_keys`),
which is not always the likeliest; calibration is about the likeliest.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT, AXES, Estimate, FrameSample, Metric, Reliability, ReliabilityBin
from components.episodes import KEYS, key_of
from components.policies import Predictions

from ._baselines import Recorded
from ._clustered import lay_out, rate_of_frames
from ._intervals import RATE, Array, Bootstrap, Bounds, Table
from ._truth import Truth

Forecasts = Sequence[Array]
"""(T, K) an episode: probabilities of the keys of `Keyboard`."""

BINS = 10
_BRIER = Bounds(0.0, 2.0)
_TINY = 1e-12


class Keyboard:
    """The eleven keys, as far as the axes that vary tell them apart: without angular_z, R and T stand still."""

    def __init__(self, axes: Sequence[str]) -> None:
        self.columns = [AXES.index(axis) for axis in axes]
        actions = np.zeros((len(KEYS), 3), dtype=np.float32)
        actions[:, self.columns] = np.stack(list(KEYS.values()))[:, self.columns]
        self.names = list(dict.fromkeys(str(key_of(action)) for action in actions))
        """(K,): a key without the axes that do not vary is a key."""
        self.signs: NDArray[np.int64] = np.stack(
            [np.rint(KEYS[name][self.columns] / ACTION_LIMIT) for name in self.names]
        ).astype(np.int64)
        """(K, A) of -1, 0, +1."""

    def pressed(self, actions: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(T, 3) -> (T, K): the key of each frame; none is set where the nearest presses are no key together."""
        wanted = np.rint(np.clip(actions[:, self.columns] / ACTION_LIMIT, -1, 1))
        return np.asarray((wanted[:, None, :] == self.signs).all(axis=-1))

    def probabilities(self, scores: NDArray[np.float32]) -> Array:
        """(T, 3, 3) class probabilities an axis -> (T, K) of sum 1.

        The axes' product, over what can be pressed: what a policy gives to moving and turning at once goes to the keys
        in proportion.
        """
        classes = scores[:, self.columns, :].astype(float)
        product = np.ones((len(scores), len(self.signs)))
        for column in range(len(self.columns)):
            product *= classes[:, column, :][:, self.signs[:, column] + 1]
        product += _TINY
        return np.asarray(product / product.sum(axis=1, keepdims=True))


def forecast_baselines(
    keyboard: Keyboard, training: Sequence[Recorded], episodes: Sequence[Recorded]
) -> dict[str, list[Array]]:
    """Name -> (T, K) an episode: the four baselines as forecasts, fitted on the training split.

    Each is the share of key presses where its name says. To what was counted in a cell, one press is added that is
    spread as the next coarser forecast (scenario and step, step, all, even), so that a cell that training never saw
    falls back to it, and no key is impossible. `repeat-previous` is sure: it is told the true previous action, and
    frame 1, after the start, stands still.
    """
    even = np.full(len(keyboard.signs), 1 / len(keyboard.signs))
    everything, by_step, by_both = np.zeros_like(even), dict[int, Array](), dict[tuple[str | None, int], Array]()
    for episode in training:
        pressed = keyboard.pressed(episode.actions).astype(float)
        for step in range(1, len(pressed)):
            everything += pressed[step]
            by_step[step] = by_step.get(step, 0) + pressed[step]
            by_both[episode.scenario, step] = by_both.get((episode.scenario, step), 0) + pressed[step]
    none = np.zeros_like(even)
    constant = _smoothed(everything, even)

    def at(step: int) -> Array:
        return _smoothed(by_step.get(step, none), constant)

    def at_both(step: int, scenario: str | None) -> Array:
        known = by_both.get((scenario, step), none) if scenario is not None else none
        return _smoothed(known, at(step))

    steps = [range(len(item.actions)) for item in episodes]
    return {
        "constant": [np.tile(constant, (len(own), 1)) for own in steps],
        "median-per-step": [np.stack([at(step) for step in own]) for own in steps],
        "median-per-step-and-scenario": [
            np.stack([at_both(step, item.scenario) for step in own]) for item, own in zip(episodes, steps, strict=True)
        ],
        "repeat-previous": [_previous(keyboard, item) for item in episodes],
    }


def _smoothed(counts: Array, coarser: Array) -> Array:
    return np.asarray((counts + coarser) / (counts.sum() + 1))


def _previous(keyboard: Keyboard, episode: Recorded) -> Array:
    before = np.zeros_like(episode.actions)
    before[2:] = episode.actions[1:-1]
    return keyboard.pressed(before).astype(float)


def calibrate(
    truth: Truth,
    sample: FrameSample,
    predictions: Mapping[str, Sequence[Predictions]],
    training: Sequence[Recorded],
    episodes: Sequence[Recorded],
    *,
    seed: int,
) -> tuple[tuple[Metric, ...], tuple[Reliability, ...]]:
    """Brier score and expected calibration error (ECE) of everybody, and reliability diagrams of the policies.

    Brier: squared distance of the probabilities from what was pressed, over all keys; 0 is best, 2 is worst. It rewards
    being right as well as knowing it, so it ranks. ECE: mean distance between the likeliest key's probability and how
    often it was pressed, over ten bins of equal width. It says whether probabilities can be taken at their word, and
    nothing of how good the policy is: the constant forecast has nearly none. Bins of equal width are the same for
    everybody and for every draw of the bootstrap, so that diagrams can be laid over each other; bins of equal mass
    would be each policy's own. ECE on few frames is biased upwards: the distance in a bin of a dozen frames is never
    nought by luck. The metric's warning names what a perfectly calibrated policy would show. The bias is in the draws
    too, so the interval reaches down by that much.

    Args:
        truth: What was pressed. All frames but frame 0 count, whatever else it would restrict.
        sample: What the figures are of.
        predictions: By policy, in `truth`'s order. Continuous policies have no probabilities and are left out.
        training: Episodes that the baselines are fitted on.
        episodes: The test split, in `truth`'s order.
        seed: Of the bootstrap.

    Returns:
        `brier` and `ece`, and a diagram a policy; nothing where the actions or all policies are continuous.
    """
    graded = {name: given for name, given in predictions.items() if all(item.scores.ndim == 3 for item in given)}
    if not truth.keys or not graded:
        return (), ()
    keyboard = Keyboard(sample.axes)
    forecasts: dict[str, Forecasts] = {
        name: [keyboard.probabilities(item.scores) for item in given] for name, given in graded.items()
    }
    baselines = forecast_baselines(keyboard, training, episodes)
    pressed, owner = lay_out([keyboard.pressed(actions).astype(float) for actions in truth.episodes])
    graphs = {name: _Graph(lay_out(given)[0], pressed, owner) for name, given in (forecasts | baselines).items()}
    bootstrap = Bootstrap(len(truth.episodes), seed=seed)
    metrics = (
        Metric(name="brier", sample=sample, figures={name: item.brier(bootstrap) for name, item in graphs.items()}),
        Metric(
            name="ece",
            sample=sample,
            figures={name: item.ece(bootstrap) for name, item in graphs.items()},
            warning=_warning({name: graphs[name] for name in graded}),
        ),
    )
    return metrics, tuple(Reliability(policy=name, sample=sample, bins=graphs[name].bins(seed=seed)) for name in graded)


class _Graph:
    """One forecaster on the frames that count."""

    def __init__(self, forecast: Array, pressed: Array, owner: NDArray[np.int64]) -> None:
        """(N, K), (N, K), (N,)"""
        likeliest = forecast.argmax(axis=1)
        self.owner = owner
        self.squared: Array = ((forecast - pressed) ** 2).sum(axis=1)
        self.confidence: Array = forecast.max(axis=1)
        self.hit: Array = np.take_along_axis(pressed, likeliest[:, None], axis=1)[:, 0]
        place = np.minimum((self.confidence * BINS).astype(np.int64), BINS - 1)
        self.inside: Array = (place[:, None] == np.arange(BINS)).astype(float)
        """(N, BINS)"""

    def brier(self, bootstrap: Bootstrap) -> Estimate:
        table = self._table({"squared": self.squared[:, None]})
        return _certain(
            bootstrap.estimate(
                table, lambda sums: (sums["squared"] / sums["frames"])[..., 0], _BRIER, "bootstrap-by-episode"
            )
        )

    def ece(self, bootstrap: Bootstrap) -> Estimate:
        """Chance alone raises ECE, in every draw too: the interval reaches down by as much."""
        table = self._table({"gap": self.inside * (self.confidence - self.hit)[:, None]})
        found = _certain(
            bootstrap.estimate(
                table,
                lambda sums: np.abs(sums["gap"]).sum(axis=-1) / sums["frames"][..., 0],
                RATE,
                "bootstrap-by-episode",
            )
        )
        return found.model_copy(update={"low": max(0.0, found.low - self.ece_by_chance())})

    def ece_by_chance(self) -> float:
        """What to expect of these confidences if each were true and frames were independent: a bin's gap is then nearly
        normal, and the mean of its size is known."""
        variance = (self.inside * (self.confidence * (1 - self.confidence))[:, None]).sum(axis=0)
        return float(np.sqrt(2 / np.pi * variance).sum() / len(self.confidence))

    def bins(self, *, seed: int) -> tuple[ReliabilityBin, ...]:
        found = []
        for index in range(BINS):
            inside = self.inside[:, index]
            accuracy = rate_of_frames(self.hit, inside, self.owner, seed=seed)
            if accuracy is not None:
                found.append(
                    ReliabilityBin(
                        low=index / BINS,
                        high=(index + 1) / BINS,
                        frames=int(inside.sum()),
                        confidence=min(1.0, float((self.confidence * inside).sum() / inside.sum())),
                        accuracy=accuracy,
                    )
                )
        return tuple(found)

    def _table(self, per_frame: Table) -> Table:
        starts = np.flatnonzero(np.diff(self.owner, prepend=-1))
        rows = {"frames": np.ones((len(self.owner), 1))} | dict(per_frame)
        return {name: np.add.reduceat(values, starts, axis=0) for name, values in rows.items()}


def _certain(estimate: Estimate | None) -> Estimate:
    assert estimate is not None  # bounded, and every episode has frames
    return estimate


def _warning(graphs: Mapping[str, _Graph]) -> str:
    floors = ", ".join(f"{name} {item.ece_by_chance():.3f}" for name, item in graphs.items())
    return (
        f"Few frames raise ECE. With the same probabilities, perfectly calibrated, chance alone would give: {floors}."
    )
