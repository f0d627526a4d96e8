"""Versioned datasets."""

from typing import Annotated, Literal

from pydantic import Field

from ._base import Frozen
from ._episodes import Axis, EpisodeName, RobotId
from ._refs import ObjectRef, Sha256

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class FrameSpec(Frozen):
    """How a camera frame becomes a policy's input: the one definition that training, export and robots share."""

    width: Annotated[int, Field(ge=8, le=1920)] = 80
    height: Annotated[int, Field(ge=8, le=1920)] = 45


class DatasetSpec(Frozen):
    """What to build. Equal specs over equal episodes give an equal version."""

    frame: FrameSpec = FrameSpec()
    ratios: tuple[float, float, float] = (0.7, 0.2, 0.1)
    """Train, validation, test."""
    seed: int = 0
    split_by: Literal["group", "contiguous"] = "group"
    """`group`: stratified by scenario, robot and session kept together. `contiguous`: in recording order, for one long
    recording cut into episodes."""
    source: Literal["robot", "simulated", "donkey"] | None = None
    """Only episodes of this source; None takes all."""


class DatasetEpisode(Frozen):
    """One episode's place in a dataset."""

    sha256: Sha256
    name: EpisodeName
    robot: RobotId
    session: str
    scenario: str | None
    instruction: str
    split: Split
    shard: int
    """Index into `DatasetVersion.shards`."""
    frames: int


class AxisStatistics(Frozen):
    """Of one action axis over the training split, frame 0 excluded."""

    axis: Axis
    mean: float
    std: float
    minimum: float
    maximum: float
    constant: bool
    """A constant axis never enters a mean."""


class DatasetVersion(Frozen):
    """A dataset's manifest. Its digest is its version."""

    spec: DatasetSpec
    episodes: tuple[DatasetEpisode, ...]
    shards: tuple[ObjectRef, ...]
    """Safetensors: `frames` (N, h, w, 3) uint8 RGB and `actions` (N, 3) float32, episodes end to end."""
    statistics: tuple[AxisStatistics, ...]
    key_counts: dict[str, int]
    """Key presses of the training split; `other` for actions that are no key press."""
    vocabulary: tuple[str, ...]
    """Words of the training split's instructions, sorted; index + 2 is a word's token (0 pads, 1 is unknown)."""

    @property
    def version(self) -> Sha256:
        return self.digest()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that vary in the data."""
        return tuple(item.axis for item in self.statistics if not item.constant)

    def of(self, split: Split) -> tuple[DatasetEpisode, ...]:
        return tuple(episode for episode in self.episodes if episode.split == split)
