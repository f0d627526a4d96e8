"""The self-test: what a package must do on this machine before it may drive."""

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from components.contracts import Budget, Latency, PackageManifest, SelfTestResult
from components.contracts.errors import ConfigurationError, PackageError, PolicyError
from components.episodes import resize_frame

from ._graphs import CPU
from ._jpeg import decode_jpeg
from ._package import GOLDEN, read_verified
from ._runtime import Runtime

_Array = NDArray[Any]


@dataclass
class _Findings:
    failures: list[str] = field(default_factory=list)
    worst: dict[str, float] = field(default_factory=dict)

    def near(self, what: str, found: _Array, expected: _Array, tolerance: float, where: str) -> None:
        """Note the largest difference; a failure beyond the tolerance, or where shapes or finiteness differ."""
        if found.shape != expected.shape or not np.isfinite(found).all():
            self.fail(f"{what}, {where}: expected finite values of shape {expected.shape}, got {found.shape}")
            return
        error = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
        self.worst[what] = max(error, self.worst.get(what, 0.0))
        if error > tolerance:
            self.fail(f"{what}, {where}: expected within {tolerance:g} of the recorded ones, got {error:g} away")

    def fail(self, message: str) -> None:
        if len(self.failures) < 20:  # a wrong normalisation fails on every frame
            self.failures.append(message)


def self_test(
    package_dir: Path,
    *,
    provider: str = CPU,
    threads: int = 1,
    runs: int = 60,
    budget: Budget | None = None,
    sha256: str | None = None,
) -> SelfTestResult:
    """Verify a package, run its golden episodes and JPEGs, and time the whole path on this machine.

    Args:
        package_dir: manifest.json and its files.
        provider: the execution provider that has to run it.
        threads: for one operator.
        runs: actions to time, JPEG bytes in, action out.
        budget: of this robot; None: the package's own.
        sha256: the manifest's, from a signed release.

    Returns:
        With `passed` and every failure; a package that cannot even be loaded has failed too, so this never raises for
        what is wrong with a package or a provider.
    """
    try:
        runtime = Runtime(package_dir, provider, threads, sha256=sha256)
        placement = runtime.placement()
        golden = read_golden(package_dir, runtime.manifest)
    except (PackageError, ConfigurationError) as error:
        return SelfTestResult(
            passed=False, failures=(str(error),), package=None, provider=provider, nodes={}, pixels_error=None,
            features_error=None, actions_error=None, scores_error=None, latency=None, memory_mib=None,
        )  # fmt: skip
    found = _Findings()
    allowed = budget or runtime.manifest.budget
    _golden_frames(runtime, golden, found)
    jpegs = _golden_jpegs(runtime, golden, found)
    latency = measure_latency(runtime, jpegs, runtime.manifest.golden[0].instruction, runs=runs) if jpegs else None
    if latency is None:
        found.fail("latency: expected golden JPEGs to time, the package has none that can be decoded")
    elif latency.p99_ms > allowed.p99_ms:
        found.fail(f"latency: expected p99 at most {allowed.p99_ms:g} ms, got {latency.p99_ms:.1f} ms")
    memory = _resident_mib()
    if memory is not None and memory > allowed.memory_mib:
        found.fail(f"memory: expected at most {allowed.memory_mib:g} MiB, this process holds {memory:.0f} MiB")
    pixels = found.worst.get("pixels")
    return SelfTestResult(
        passed=not found.failures,
        failures=tuple(found.failures),
        package=runtime.package,
        provider=provider,
        nodes=placement,
        pixels_error=None if pixels is None else int(pixels),
        features_error=found.worst.get("features"),
        actions_error=found.worst.get("actions"),
        scores_error=found.worst.get("scores"),
        latency=latency,
        memory_mib=memory,
    )


def read_golden(package_dir: Path, manifest: PackageManifest) -> dict[str, _Array]:
    """golden.safetensors (see contracts.GoldenEpisode), its shapes checked against the manifest.

    Raises:
        PackageError: no golden episode, unreadable, or tensors missing or of other lengths than the manifest's.
    """
    if not manifest.golden:
        raise PackageError(f"{package_dir}: expected golden episodes in the manifest, found none; package it again")
    try:
        golden: dict[str, _Array] = load(read_verified(package_dir, manifest, GOLDEN))
    except (SafetensorError, ValueError, KeyError) as error:
        raise PackageError(f"{package_dir / GOLDEN}: expected safetensors, it cannot be read: {error}") from None
    frames = sum(episode.frames for episode in manifest.golden)
    jpegs = sum(len(episode.jpegs) for episode in manifest.golden)
    lengths = {
        "frames": frames,
        "features": frames,
        "actions": frames,
        "scores": frames,
        "tokens": len(manifest.golden),
    }
    lengths |= {"jpeg_frames": jpegs, "jpeg_actions": jpegs, "jpeg_scores": jpegs}
    found = {name: len(tensor) for name, tensor in golden.items() if tensor.ndim}
    if found != lengths:
        raise PackageError(f"{package_dir / GOLDEN}: expected tensors of lengths {lengths}, found {found}")
    shape = (frames, manifest.frame.height, manifest.frame.width, 3)
    if golden["frames"].shape != shape or golden["frames"].dtype != np.uint8:
        raise PackageError(f"{package_dir / GOLDEN}: expected frames {shape} uint8, found {golden['frames'].shape}")
    scores = manifest.step_outputs[1].shape[1:]
    if golden["scores"].shape[1:] != scores or golden["jpeg_scores"].shape[1:] != scores:
        raise PackageError(f"{package_dir / GOLDEN}: expected scores of {scores}, found {golden['scores'].shape[1:]}")
    return golden


def measure_latency(runtime: Runtime, jpegs: Sequence[bytes], instruction: str, *, runs: int) -> Latency:
    """Time the whole path, JPEG bytes in, action out, one session, after five actions that do not count.

    Raises:
        PolicyError: no JPEG given, or one cannot be decoded.
    """
    if not jpegs or runs < 1:
        raise PolicyError(f"expected at least one JPEG and one run, got {len(jpegs)} and {runs}")
    session = runtime.session(instruction)
    times = []
    for index in range(-5, runs):
        started = time.perf_counter()
        runtime.act_jpeg(jpegs[index % len(jpegs)], session)
        if index >= 0:
            times.append((time.perf_counter() - started) * 1000)
    p50, p95, p99 = percentiles(times)
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99, n=runs, hardware=hardware_name(), provider=runtime.provider)


def percentiles(times: Sequence[float]) -> tuple[float, float, float]:
    """p50, p95, p99 (nearest rank: a time that was really measured)."""
    ordered = sorted(times)
    rank = [max(0, int(np.ceil(share * len(ordered))) - 1) for share in (0.95, 0.99)]
    return statistics.median(ordered), ordered[rank[0]], ordered[rank[1]]


def hardware_name() -> str:
    """The machine's own name for itself: a Jetson's model, else the processor's."""
    for path, prefix in ((Path("/proc/device-tree/model"), ""), (Path("/proc/cpuinfo"), "model name")):
        try:
            lines = path.read_text(errors="replace").replace("\0", "\n").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(prefix) and line.strip():
                return line.partition(":")[2].strip() if prefix else line.strip()
    return platform.processor() or platform.machine()


def _golden_frames(runtime: Runtime, golden: dict[str, _Array], found: _Findings) -> None:
    """Whole episodes, memory included, against features, scores and actions."""
    manifest, at = runtime.manifest, 0
    for number, episode in enumerate(manifest.golden):
        try:
            session = runtime.session(episode.instruction)
        except PolicyError as error:
            found.fail(f"tokens, episode {number}: {error}")
            return
        found.near("tokens", session.tokens[0], golden["tokens"][number], 0, f"episode {number}")
        for index in range(at, at + episode.frames):
            where = f"episode {number}, frame {index - at}"
            features = runtime.encode(golden["frames"][index : index + 1])
            result = runtime.step(features, session)
            session.state = result.state
            found.near("features", features[0], golden["features"][index], manifest.tolerances.features, where)
            found.near("scores", result.scores, golden["scores"][index], manifest.tolerances.scores, where)
            if manifest.action_space == "continuous" or not undecided(
                golden["scores"][index], manifest.tolerances.scores
            ):
                found.near("actions", result.action, golden["actions"][index], manifest.tolerances.actions, where)
        at += episode.frames


def _golden_jpegs(runtime: Runtime, golden: dict[str, _Array], found: _Findings) -> list[bytes]:
    """The whole path from bytes: decoder, resizing, colour order, tokenizer, graphs, safety layer."""
    manifest, at, jpegs = runtime.manifest, 0, []
    for number, episode in enumerate(manifest.golden):
        try:
            session = runtime.session(episode.instruction)
            for name in episode.jpegs:
                data = read_verified(runtime.package_dir, manifest, name)
                pixels = resize_frame(decode_jpeg(data), manifest.frame)
                found.near("pixels", pixels, golden["jpeg_frames"][at], manifest.tolerances.pixels, name)
                decision = runtime.act_jpeg(data, session)
                if decision.fault in {"non-finite", "out-of-bounds"}:
                    found.fail(f"safety, {name}: expected an action, got a stop: {decision.fault}")
                found.near(
                    "jpeg scores", decision.scores, golden["jpeg_scores"][at], manifest.tolerances.jpeg_scores, name
                )
                jpegs.append(data)
                at += 1
        except PolicyError as error:
            found.fail(f"jpegs, episode {number}: {error}")
            return []
    return jpegs


def undecided(scores: _Array, tolerance: float) -> bool:
    """Whether an error of `tolerance` in the class probabilities (3, 3) may decide for another key.

    A key is pressed where a class has more than half of the probability, and turning competes with moving by how far
    above half they are.
    """
    sides = scores[:, [0, 2]]
    saved = np.maximum(2 * sides.max(axis=1) - 1, 0)
    near_half = np.abs(sides - 0.5).min() <= 2 * tolerance
    near_turn = saved[2] > 0 and abs(saved[2] - saved[:2].sum()) <= 8 * tolerance
    return bool(near_half or near_turn)


def _resident_mib() -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return float(line.split()[1]) / 1024 if line else None
