"""Policy packages: what a robot downloads."""

from typing import Annotated, Literal

from pydantic import Field

from ._base import Frozen
from ._datasets import FrameSpec
from ._episodes import Axis
from ._refs import Count, Lineage, ObjectRef, Sha256


class TensorSpec(Frozen):
    """One input or output of a graph; 0 in `shape` is the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64", "uint8"]


class Tolerances(Frozen):
    """How far a runtime may be from the recorded outputs."""

    features: Annotated[float, Field(gt=0)] = 1e-3
    """Absolute, on encode.onnx's output."""
    actions: Annotated[float, Field(gt=0)] = 1e-3
    """Absolute, m/s or rad/s, on the executed actions."""
    scores: Annotated[float, Field(gt=0)] = 1e-3
    """Absolute, on step.onnx's class probabilities or values."""
    pixels: Annotated[int, Field(ge=0, le=255)] = 2
    """Levels of 255, on a golden JPEG after decoding and resizing: JPEG decoders differ in the last bit."""
    jpeg_scores: Annotated[float, Field(gt=0)] = 2e-2
    """Absolute, on the scores of a golden JPEG: what `pixels` may do to them."""


class Budget(Frozen):
    """What a robot allows: image bytes in, action out."""

    p99_ms: Annotated[float, Field(gt=0)] = 300.0
    """One key press."""
    memory_mib: Annotated[float, Field(gt=0)] = 2048.0


class Latency(Frozen):
    """Whole path, JPEG bytes in, action out."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    n: int
    hardware: str
    provider: str
    """The execution provider that really ran."""


class GoldenEpisode(Frozen):
    """One recorded episode of the test split, and where its recorded outputs lie in golden.safetensors.

    Tensors there, episodes end to end: `frames` (N, h, w, 3) uint8, `features` (N, F), `actions` (N, 3) and `scores`
    (N, ...) float32, `tokens` (episodes, max_tokens) int64; for the JPEGs, in the same order, `jpeg_frames`
    (M, h, w, 3) uint8, `jpeg_actions` (M, 3) and `jpeg_scores` (M, ...) float32.
    """

    instruction: str
    frames: Annotated[int, Field(ge=1)]
    jpegs: tuple[str, ...]
    """Files with the episode's first frames as the camera gives them."""


class PackageManifest(Frozen):
    """manifest.json of a package: all a runtime needs to know. Its SHA-256 names the package."""

    format: Literal["drover-policy/1"] = "drover-policy/1"
    policy: str
    frame: FrameSpec
    action_space: Literal["keys", "continuous"]
    axes: tuple[Axis, ...]
    action_low: tuple[float, float, float]
    action_high: tuple[float, float, float]
    vocabulary: tuple[str, ...]
    max_tokens: int
    encode_inputs: tuple[TensorSpec, ...]
    encode_outputs: tuple[TensorSpec, ...]
    step_inputs: tuple[TensorSpec, ...]
    """features, tokens, then each state tensor."""
    step_outputs: tuple[TensorSpec, ...]
    """actions, scores, then each new state tensor, in the inputs' order."""
    files: dict[str, Sha256]
    """File name in the package -> its SHA-256; manifest.json itself is not among them."""
    sizes: dict[str, Count]
    tolerances: Tolerances
    budget: Budget
    parity_max: float
    """Largest absolute difference of scores between torch and onnxruntime on real frames."""
    golden: tuple[GoldenEpisode, ...] = ()
    subject: Sha256 | None = None
    """Digest of the TrainedPolicy or Ensemble."""
    evaluation: Sha256
    """Digest of the EvaluationReport."""
    dataset: Sha256
    lineage: Lineage


class PolicyPackage(Frozen):
    """A package in the store."""

    manifest: ObjectRef
    files: dict[str, ObjectRef]
    parity_max: float
    latency: Latency
    evaluation: Sha256
    subject: str

    @property
    def sha256(self) -> Sha256:
        return self.manifest.sha256

    @property
    def size(self) -> int:
        """Bytes of all files, manifest included."""
        return self.manifest.size + sum(ref.size for ref in self.files.values())


class SelfTestResult(Frozen):
    """What a package did on the machine that is to run it."""

    passed: bool
    failures: tuple[str, ...]
    """Each with expected and got; empty if it passed."""
    package: Sha256 | None
    """None: not even the manifest could be read."""
    provider: str
    """The execution provider that was asked for."""
    nodes: dict[str, int]
    """Execution provider that really ran -> graph nodes that ran there."""
    pixels_error: int | None
    features_error: float | None
    actions_error: float | None
    scores_error: float | None
    """Largest absolute differences from the recorded outputs; None where nothing finite was measured."""
    latency: Latency | None
    memory_mib: float | None
    """Of this process after the runs; None where the system does not tell."""
