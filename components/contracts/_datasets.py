"""Versioned datasets."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ._base import Frozen
from ._episodes import Axis, EpisodeName, EpisodeSource, RobotId
from ._refs import ObjectRef, Sha256

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

LEAST_EPISODES: dict[Split, int] = {"train": 1, "validation": 2, "test": 2}
"""Below these there is no ensemble (its weights are judged on episodes that they were fitted without) and no report
(one episode has no interval)."""

CollectionName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
CollectionRef = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(@[1-9][0-9]{0,8})?$")]
"""`name`, its latest version, or `name@3`."""


class FrameSpec(Frozen):
    """How a camera frame becomes a policy's input: the one definition that training, export and robots share."""

    width: Annotated[int, Field(ge=8, le=1920)] = 80
    height: Annotated[int, Field(ge=8, le=1920)] = 45


class DatasetSpec(Frozen):
    """What to build. Equal specs over equal episodes give an equal version."""

    frame: FrameSpec = FrameSpec()
    ratios: tuple[float, float, float] = (0.7, 0.2, 0.1)
    """Train, validation, test."""
    seed: Annotated[int, Field(ge=0)] = 0
    split_by: Literal["group", "contiguous"] = "group"
    """`group`: stratified by scenario, robot and session kept together. `contiguous`: in recording order, for one long
    recording cut into episodes."""
    source: EpisodeSource | None = None
    """Only episodes of this source; None takes all."""
    collection: Annotated[CollectionRef | None, Field(exclude_if=lambda value: value is None)] = None
    """Only episodes of this collection; a manifest names its version. None takes all, and is left out of the JSON:
    specs and versions from before there were collections keep their digests."""

    @field_validator("ratios")
    @classmethod
    def _ratios_are_shares(cls, ratios: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(ratios) <= 0 or abs(sum(ratios) - 1) > 1e-6:
            given = ", ".join(f"{share:g}" for share in ratios)
            raise ValueError(f"expected shares above 0 that sum to 1, such as 0.7, 0.2, 0.1, got {given}")
        return ratios


class EpisodeEdit(Frozen):
    """What somebody decided about one admitted episode; its file and its record stay as they are. Edits are numbered
    from 1, and per field the later one wins. None leaves a field as it is."""

    sha256: Sha256
    """The episode's."""
    number: Annotated[int, Field(ge=1)]
    instruction: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    scenario: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    excluded: bool | None = None
    """True keeps it out of every dataset that is built from now on, False takes that back."""
    reason: Annotated[str, Field(min_length=1, max_length=512)]
    by: Annotated[str, Field(min_length=1, max_length=64)]
    """Who, by their own word."""
    at: datetime


class Collection(Frozen):
    """One version of a named list of episodes. Versions are numbered from 1 and never change."""

    name: CollectionName
    number: Annotated[int, Field(ge=1)]
    episodes: tuple[Sha256, ...]
    """Sorted, each once."""
    origin: str
    """How it was made, e.g. `merge of day-1@2, day-2@1`."""
    by: Annotated[str, Field(min_length=1, max_length=64)]
    at: datetime

    @property
    def ref(self) -> str:
        """`name@number`."""
        return f"{self.name}@{self.number}"


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
