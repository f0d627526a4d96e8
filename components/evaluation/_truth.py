"""What the operators did, and the slices of it that figures are of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from components.contracts import Axis, FrameSample, Protocol
from components.contracts.errors import EvidenceError

from ._intervals import Array

Actions = NDArray[np.float32]
"""(T, 3): m/s, m/s, rad/s."""
LAST_FRAME = 63
"""Frames after it have no figures of their own; they count in all others."""
_PROTOCOLS: tuple[Protocol, ...] = ("middle-frame", "random-frame", "first-frame")


@dataclass(frozen=True)
class Truth:
    """The test split's recorded actions, and the axes of them that vary."""

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
        if min(len(item) for item in self.episodes) < 2:
            raise EvidenceError("expected at least one frame after frame 0 in every test episode; check the dataset")

    def whole(self, actions: Sequence[Actions]) -> Array:
        """(T, 3) an episode -> (M, 3) float64: all frames end to end, frame 0 too.

        Raises:
            EvidenceError: not one row a frame, or not finite.
        """
        for index, (mine, theirs) in enumerate(zip(actions, self.episodes, strict=True)):
            if mine.shape != theirs.shape or not np.isfinite(mine).all():
                raise EvidenceError(
                    f"test episode {index}: expected finite actions {theirs.shape}, got {mine.shape}"
                    f"{'' if np.isfinite(mine).all() else ' with NaN or infinity'}"
                )
        return np.concatenate([np.asarray(item, dtype=float) for item in actions])

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """(M,): each frame's index in its episode."""
        return np.concatenate([np.arange(len(item)) for item in self.episodes])

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """(M,): the episode of each frame."""
        return np.repeat(np.arange(len(self.episodes)), [len(item) for item in self.episodes])

    @property
    def owner(self) -> NDArray[np.int64]:
        """(N,): the same for the frames after frame 0."""
        return self.owners[self.steps > 0]

    def slices(self, whole: FrameSample, *, seed: int) -> Iterator[tuple[FrameSample, NDArray[np.bool_]]]:
        """What figures are of, with the (M,) frames that count: the whole, each axis, each scenario, each frame index,
        and the protocols that pick one frame an episode.

        Args:
            whole: the sample of all frames and varying axes.
            seed: of the random frames.
        """
        counted = self.steps > 0
        yield whole, counted
        if len(self.axes) > 1:
            for axis in self.axes:
                yield whole.model_copy(update={"axes": (axis,)}), counted
        names = np.array([name or "" for name in self.scenarios])
        for scenario in sorted({name for name in self.scenarios if name}):
            yield whole.model_copy(update={"scenario": scenario}), counted & (names == scenario)[self.owners]
        for step in range(1, min(int(self.steps.max()), LAST_FRAME) + 1):
            yield whole.model_copy(update={"frame": step}), self.steps == step
        for protocol, steps in self._picked(seed).items():
            yield whole.model_copy(update={"protocol": protocol}), self.steps == steps[self.owners]

    def _picked(self, seed: int) -> Mapping[Protocol, NDArray[np.int64]]:
        """Protocol -> (episodes,) the one frame that it looks at."""
        lengths = np.array([len(item) for item in self.episodes])
        picked = (lengths // 2, np.random.default_rng([seed, len(lengths), 7]).integers(1, lengths), 0 * lengths)
        return dict(zip(_PROTOCOLS, picked, strict=True))
