"""The policy runtime: a verified package, image bytes in, an action out. One for robots, the Bento and trials."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts import PackageManifest, TensorSpec
from components.contracts.errors import ConfigurationError, PackageError, PolicyError
from components.episodes import key_of, resize_frame, tokenize

from ._graphs import CPU, nodes_by_provider, open_graph, profiling_folder, run_graph
from ._jpeg import decode_jpeg
from ._package import ENCODE, MANIFEST, STEP, read_verified, verify_package
from ._safety import Fault, SafetyLayer

MAX_INSTRUCTION = 512
"""Characters."""
_LATE = 4.0
"""Deadline of one action, in units of the package's p99 budget, where none is given."""


@dataclass(eq=False)
class Session:
    """One episode of one robot: the instruction and what the policy remembers. Not for two threads at once."""

    instruction: str
    tokens: NDArray[np.int64]
    """(1, 16)."""
    state: list[NDArray[np.float32]]
    """Each (1, ...); zero at the start."""
    frames: int = 0
    """Frames seen."""


@dataclass(frozen=True, eq=False)
class Decision:
    """One action and how it came about."""

    action: NDArray[np.float32]
    """(3,) float32 after the safety layer: m/s, m/s, rad/s."""
    key: str | None
    """The key press that it is; None for actions between keys."""
    scores: NDArray[np.float32]
    """(3, 3) class probabilities or (3,) values, as the policy gave them."""
    fault: Fault | None
    """Why the action is a stop; None where the policy decided."""
    clamped: bool
    latency_ms: float


@dataclass(frozen=True, eq=False)
class StepResult:
    """step.onnx's outputs, unjudged."""

    action: NDArray[np.float32]
    scores: NDArray[np.float32]
    state: list[NDArray[np.float32]] = field(default_factory=list)


class Runtime:
    """Runs one package. Implements `contracts.Policy`; `act_frame` and `act_jpeg` with sessions are for many at once.

    Thread-safe except for a single `Session`, and for `reset` and `act`, which share one.

    Args:
        package_dir: manifest.json and its files; every hash is verified before anything is loaded.
        provider: onnxruntime's execution provider. Another one is never taken silently.
        threads: for one operator.
        deadline_s: an action that comes later is a stop; None: four times the package's p99 budget.
        sha256: the manifest's, from a signed release.

    Raises:
        PackageError: the folder is not what its manifest says, or onnxruntime cannot load it.
        ConfigurationError: the provider is not there, or fell back.
    """

    def __init__(
        self,
        package_dir: Path,
        provider: str = CPU,
        threads: int = 1,
        *,
        deadline_s: float | None = None,
        sha256: str | None = None,
    ) -> None:
        self.manifest, self.package = verify_package(package_dir, sha256=sha256)
        self.package_dir = package_dir
        self.provider = provider
        self.threads = threads
        self._encode, self._step = self._open(None)
        self._states = _state_inputs(self.manifest)
        self._safety = SafetyLayer(
            self.manifest.action_low,
            self.manifest.action_high,
            deadline_s=_LATE * self.manifest.budget.p99_ms / 1000 if deadline_s is None else deadline_s,
        )
        self._own: Session | None = None
        self._once(self._encode, self._step)  # the first run allocates: not while a robot waits

    def session(self, instruction: str) -> Session:
        """Begin an episode with a memory of its own.

        Raises:
            PolicyError: the instruction is longer than 512 characters, or none of its words is known.
        """
        if len(instruction) > MAX_INSTRUCTION:
            raise PolicyError(
                f"expected an instruction of at most {MAX_INSTRUCTION} characters, got {len(instruction)}"
            )
        tokens = self.tokens(instruction)
        if self.manifest.vocabulary and not (tokens > 1).any():
            raise PolicyError(
                f"expected an instruction with words of this policy ({', '.join(self.manifest.vocabulary[:20])}), "
                f"got {instruction[:80]!r}"
            )
        state = [np.zeros((1, *spec.shape[1:]), dtype=np.float32) for spec in self._states]
        return Session(instruction=instruction, tokens=tokens[None, :], state=state)

    def act_jpeg(self, jpeg: bytes, session: Session) -> Decision:
        """One camera JPEG of any size -> one action; the session remembers.

        Raises:
            PolicyError: the bytes are no usable JPEG; the session is as before.
        """
        started = time.perf_counter()
        return self._act(decode_jpeg(jpeg), session, started)

    def act_frame(self, image: NDArray[np.uint8], session: Session) -> Decision:
        """(H, W, 3) uint8 RGB as the camera gives it -> one action; the session remembers."""
        return self._act(image, session, time.perf_counter())

    def reset(self, instruction: str) -> None:
        """Begin an episode (`contracts.Policy`)."""
        self._own = self.session(instruction)

    def act(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB -> (3,) float32 (`contracts.Policy`); a fault is a zero action."""
        if self._own is None:
            raise PolicyError("expected `reset(instruction)` before the first `act`")
        return self.act_frame(image, self._own).action

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """(16,) int64 in this package's vocabulary."""
        return tokenize(instruction, self.manifest.vocabulary)

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, h, w, 3) uint8 RGB -> (B, F) float32."""
        return run_graph(self._encode, self.manifest.encode_outputs, {"image": frames})[0]

    def step(self, features: NDArray[np.float32], session: Session) -> StepResult:
        """(1, F) -> step.onnx's outputs; the session is not changed."""
        feeds: dict[str, Any] = {"features": features, "tokens": session.tokens}
        feeds |= {spec.name: value for spec, value in zip(self._states, session.state, strict=True)}
        actions, scores, *state = run_graph(self._step, self.manifest.step_outputs, feeds)
        return StepResult(action=actions[0], scores=scores[0], state=state)

    def placement(self) -> dict[str, int]:
        """Execution provider that really ran -> nodes that ran there, from onnxruntime's own profile of one frame.

        Raises:
            ConfigurationError: a graph ran without the provider that was asked for. A few nodes elsewhere are normal:
                onnxruntime puts arithmetic on shapes on the CPU.
        """
        with profiling_folder() as folder:
            graphs = self._open(Path(folder))
            self._once(*graphs)
            found: dict[str, int] = {}
            for name, graph in zip((ENCODE, STEP), graphs, strict=True):
                placed = nodes_by_provider(graph)
                if not placed.get(self.provider):
                    raise ConfigurationError(f"expected {name} on {self.provider}, all of it ran on {placed}")
                for provider, nodes in placed.items():
                    found[provider] = found.get(provider, 0) + nodes
        return found

    def _once(self, encode: Any, step: Any) -> None:
        """Both graphs on zeros."""
        manifest = self.manifest
        frame = np.zeros((1, *manifest.encode_inputs[0].shape[1:]), dtype=np.uint8)
        features = run_graph(encode, manifest.encode_outputs, {"image": frame})[0]
        feeds: dict[str, Any] = {"features": features, "tokens": np.zeros((1, manifest.max_tokens), np.int64)}
        feeds |= {spec.name: np.zeros((1, *spec.shape[1:]), np.float32) for spec in self._states}
        run_graph(step, manifest.step_outputs, feeds)

    def _open(self, profile: Path | None) -> tuple[Any, Any]:
        manifest = self.manifest
        sides = (
            (ENCODE, manifest.encode_inputs, manifest.encode_outputs),
            (STEP, manifest.step_inputs, manifest.step_outputs),
        )
        encode, step = (
            open_graph(
                name,
                read_verified(self.package_dir, manifest, name),
                inputs,
                outputs,
                provider=self.provider,
                threads=self.threads,
                profile=profile,
            )
            for name, inputs, outputs in sides
        )
        return encode, step

    def _act(self, image: NDArray[np.uint8], session: Session, started: float) -> Decision:
        features = self.encode(resize_frame(image, self.manifest.frame)[None])
        result = self.step(features, session)
        elapsed = time.perf_counter() - started
        safe = self._safety.check(result.action, features, result.scores, *result.state, elapsed_s=elapsed)
        if safe.fault != "non-finite":  # a poisoned memory would stop the robot for the rest of the episode
            session.state = result.state
        session.frames += 1
        return Decision(
            action=safe.action,
            key=key_of(safe.action),
            scores=result.scores,
            fault=safe.fault,
            clamped=safe.clamped,
            latency_ms=elapsed * 1000,
        )


def _state_inputs(manifest: PackageManifest) -> tuple[TensorSpec, ...]:
    """Which of step.onnx's inputs are state, after a check that every state goes in and comes out alike."""
    inputs = [spec.name for spec in manifest.step_inputs]
    outputs = [spec.name for spec in manifest.step_outputs]
    states = manifest.step_inputs[2:]
    expected = ["actions", "scores", *(f"new_{spec.name}" for spec in states)]
    image = manifest.encode_inputs[0] if manifest.encode_inputs else None
    shape = (0, manifest.frame.height, manifest.frame.width, 3)
    if inputs[:2] != ["features", "tokens"] or outputs != expected or image is None or image.shape != shape:
        raise PackageError(
            f"{MANIFEST}: expected an image of {shape}, inputs features, tokens, state_0... and outputs actions, "
            f"scores, new_state_0..., got {image}, {inputs} and {outputs}"
        )
    if [spec.shape for spec in states] != [spec.shape for spec in manifest.step_outputs[2:]]:
        raise PackageError(f"{MANIFEST}: expected each new state to have its state's shape")
    return states
