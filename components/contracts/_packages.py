"""Policy packages: what a robot downloads."""

from typing import Annotated, Literal

from pydantic import Field

from ._base import Frozen
from ._datasets import FrameSpec
from ._episodes import Axis
from ._refs import Lineage, ObjectRef, Sha256


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
    sizes: dict[str, int]
    tolerances: Tolerances
    budget: Budget
    parity_max: float
    """Largest absolute difference of scores between torch and onnxruntime on real frames."""
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
