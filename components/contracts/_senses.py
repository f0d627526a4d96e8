"""What a policy does with a sense taken away, how sure it is, and whether it was told the answers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ._base import Frozen
from ._figures import Estimate, FrameSample
from ._refs import Sha256

AblationName = Literal[
    "blank-images",
    "shuffled-images",
    "frozen-images",
    "swapped-instruction",
    "blank-instruction",
    "paraphrased-instruction",
]


class Ablation(Frozen):
    """What the subject does when a sense is altered, against what was expected beforehand."""

    name: AblationName
    sample: FrameSample
    mae: Estimate
    mae_loss: Estimate
    """Paired: by how much the MAE rises."""
    expects: Literal["rises", "stays"]
    margin: Annotated[float, Field(ge=0)] = 0.0
    """`rises`: the whole interval of the loss lies above it. `stays`: it lies within plus or minus it."""
    expected: str
    """In words, written before any figure was known."""
    held: bool

    @model_validator(mode="after")
    def _held_follows_from_the_interval(self) -> "Ablation":
        if self.expects == "rises":
            follows = self.mae_loss.low > self.margin + 1e-9
        else:
            follows = -self.margin <= self.mae_loss.low and self.mae_loss.high <= self.margin
        if self.held != follows:
            raise ValueError(f"{self.name}: held is {self.held}, but the loss is in {self.mae_loss}")
        return self


class Leak(Frozen):
    """A test episode that training has seen."""

    test: Sha256
    train: Sha256
    how: Literal["same-episode", "near-duplicate", "mirror-image", "same-session"]
    observed: str


class LeakCheck(Frozen):
    """Every test episode against every episode of training and validation, by what is in the shards."""

    test_episodes: Annotated[int, Field(ge=0)]
    other_episodes: Annotated[int, Field(ge=0)]
    sessions: bool = True
    """False where the dataset is one recording, split in order: there a session on both sides is no leak."""
    leaks: tuple[Leak, ...]


class ReliabilityBin(Frozen):
    """Frames on which a policy's probability for its likeliest key lies in [low, high)."""

    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]
    frames: Annotated[int, Field(ge=1)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    """Mean probability."""
    accuracy: Estimate
    """Share of them on which that key was pressed."""


class Reliability(Frozen):
    """One policy's probabilities over keys against what was pressed; `brier` and `ece` are metrics of the report."""

    policy: str
    sample: FrameSample
    bins: Annotated[tuple[ReliabilityBin, ...], Field(min_length=1)]


class RiskPoint(Frozen):
    """Accuracy on the share of frames on which the members agree most."""

    coverage: Annotated[float, Field(gt=0, le=1)]
    key_accuracy: Estimate


class Novelty(Frozen):
    """Whether disagreement tells frames of a shift suite from unshifted ones of the same rooms. Simulated."""

    shift: str
    auroc: Estimate
    """0.5 is chance: the baseline of a signal that tells nothing."""


class Disagreement(Frozen):
    """How far the members are apart, and what that is worth."""

    measure: str
    """In words."""
    sample: FrameSample
    error_auroc: Estimate | None
    """Probability that a frame on which the ensemble errs has more disagreement than one on which it does not; None
    where it never errs, or always."""
    risk: tuple[RiskPoint, ...]
    novelty: tuple[Novelty, ...] = ()
