"""One policy -> one package: exported, compared on real frames, tried as a robot would, named by its content."""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from components.contracts import (
    ACTION_LIMIT,
    AXES,
    Budget,
    DatasetVersion,
    Ensemble,
    EvaluationReport,
    PackageManifest,
    PolicyPackage,
    PolicySpec,
    Tolerances,
    TrainedPolicy,
    describe_lineage,
)
from components.contracts.errors import PackageError
from components.datasets import EpisodeFrames, load_split
from components.episodes import MAX_TOKENS, tokenize
from components.policies import StepModule, load_module
from components.robot import MANIFEST, Runtime, measure_latency, self_test, undecided
from components.storage import ObjectStore

from ._export import Graphs, export_graphs
from ._golden import Golden, make_golden, replay, single_thread
from ._sbom import AT_BUILD_TIME, AT_RUN_TIME, bill_of_materials
from ._store import publish

_log = logging.getLogger(__name__)

SBOM = "sbom.cdx.json"
LATENCY_RUNS = 200
_NO_LIMIT = Budget(p99_ms=1e9, memory_mib=1e9)
"""The packaging machine is no robot: its speed is measured and reported, and refuses nothing here."""


def package(
    store: ObjectStore,
    dataset: DatasetVersion,
    subject: TrainedPolicy | Ensemble,
    report: EvaluationReport,
    *,
    budget: Budget = Budget(),  # noqa: B008  frozen
    tolerances: Tolerances = Tolerances(),  # noqa: B008
    progress: Callable[[str], None] | None = None,
) -> PolicyPackage:
    """Make the package that a robot downloads, and keep it in the store.

    The same subject, dataset, report and code give the same manifest, byte for byte; only the measured latency differs,
    which is why it is no part of it.

    Args:
        store: holds weights, shards and the test episodes; gets the package.
        dataset: the version that `report` is about.
        subject: what to package.
        report: its evaluation.
        budget: what a robot allows; a robot may be stricter.
        tolerances: how far onnxruntime may be from torch, here and on the robot.
        progress: told the name of each step as it begins.

    Returns:
        The package; `latency` was measured here, from JPEG bytes to action.

    Raises:
        PackageError: `report` is about something else; the policy cannot be exported; onnxruntime differs from torch
            by more than `tolerances` on the test split; or the finished package fails its own self-test.
    """
    tell = progress or _log.info
    _check_evidence(dataset, subject, report)
    with single_thread(), tempfile.TemporaryDirectory(prefix="drover-package-") as name:
        folder = Path(name)
        tell("load")
        module = load_module(store, subject)
        episodes = _understood(load_split(store, dataset, "test"), module.vocabulary)
        tell("golden")
        golden = make_golden(store, module, episodes)
        tell("export")
        graphs = export_graphs(module)
        files = golden.files | {"encode.onnx": graphs.encode, "step.onnx": graphs.step}
        manifest = _manifest(
            subject, report, graphs=graphs, golden=golden, files=files, budget=budget, tolerances=tolerances
        )
        tell("parity")
        _write(folder, manifest, files)
        manifest = manifest.model_copy(update={"parity_max": _parity(Runtime(folder), module, episodes, tolerances)})
        files[SBOM] = bill_of_materials(manifest, _weights(subject))
        manifest = manifest.model_copy(update=_listing(files))
        _write(folder, manifest, files)
        tell("self-test")
        jpegs = [golden.files[name] for name in sorted(golden.files) if name.endswith(".jpg")]
        _check_self_test(folder)
        latency = measure_latency(Runtime(folder), jpegs, golden.episodes[0].instruction, runs=LATENCY_RUNS)
        tell("publish")
        manifest_ref, refs = publish(store, folder, manifest)
    return PolicyPackage(
        manifest=manifest_ref,
        files=refs,
        parity_max=manifest.parity_max,
        latency=latency,
        evaluation=manifest.evaluation,
        subject=subject.name,
    )


def _check_evidence(dataset: DatasetVersion, subject: TrainedPolicy | Ensemble, report: EvaluationReport) -> None:
    if report.subject_digest != subject.digest():
        raise PackageError(
            f"expected the evaluation of {subject.name} ({subject.digest()}), got one of {report.subject} "
            f"({report.subject_digest}); evaluate what is to be packaged"
        )
    if report.dataset != dataset.version:
        raise PackageError(f"expected an evaluation on dataset {dataset.version}, got one on {report.dataset}")


def _understood(episodes: Sequence[EpisodeFrames], vocabulary: Sequence[str]) -> list[EpisodeFrames]:
    """Those whose instruction a robot would not refuse: at least one word that the policy was trained on."""
    found = [item for item in episodes if not vocabulary or (tokenize(item.instruction, vocabulary) > 1).any()]
    if not found:
        raise PackageError(
            "expected a test episode whose instruction has a word of the training split's, found none; "
            "record or edit instructions that both splits share (`drover episodes stats`)"
        )
    return found


def _members(subject: TrainedPolicy | Ensemble) -> Sequence[TrainedPolicy]:
    return [subject] if isinstance(subject, TrainedPolicy) else subject.members


def _weights(subject: TrainedPolicy | Ensemble) -> dict[str, str]:
    return {member.name: member.weights.sha256 for member in _members(subject)}


def _manifest(
    subject: TrainedPolicy | Ensemble,
    report: EvaluationReport,
    *,
    graphs: Graphs,
    golden: Golden,
    files: dict[str, bytes],
    budget: Budget,
    tolerances: Tolerances,
) -> PackageManifest:
    member = _members(subject)[0]  # members share frame, axes, action space and vocabulary: load_module checked
    spec: PolicySpec = member.spec
    high = tuple(ACTION_LIMIT if axis in spec.axes else 0.0 for axis in AXES)
    return PackageManifest.model_validate(
        {
            "policy": subject.name,
            "frame": spec.frame,
            "action_space": spec.action_space,
            "axes": spec.axes,
            "action_low": tuple(-limit for limit in high),
            "action_high": high,
            "vocabulary": member.vocabulary,
            "max_tokens": MAX_TOKENS,
            "encode_inputs": graphs.encode_inputs,
            "encode_outputs": graphs.encode_outputs,
            "step_inputs": graphs.step_inputs,
            "step_outputs": graphs.step_outputs,
            **_listing(files),
            "tolerances": tolerances,
            "budget": budget,
            "parity_max": 0.0,
            "golden": golden.episodes,
            "subject": subject.digest(),
            "evaluation": report.digest(),
            "dataset": report.dataset,
            "lineage": describe_lineage((*AT_BUILD_TIME, *AT_RUN_TIME)),
        }
    )


def _listing(files: dict[str, bytes]) -> dict[str, dict[str, str] | dict[str, int]]:
    return {
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        "sizes": {name: len(data) for name, data in sorted(files.items())},
    }


def _write(folder: Path, manifest: PackageManifest, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / MANIFEST).write_bytes(manifest.canonical_json())


def _parity(runtime: Runtime, module: StepModule, episodes: Sequence[EpisodeFrames], tolerances: Tolerances) -> float:
    """Largest difference of scores between torch and onnxruntime over whole episodes, memory included.

    Raises:
        PackageError: features, scores or a clearly decided action differ by more than the tolerances.
    """
    worst = {"features": 0.0, "scores": 0.0, "actions": 0.0}
    for episode in episodes:
        expected = replay(module, episode.frames, episode.instruction)
        session = runtime.session(episode.instruction)
        for index in range(len(episode.frames)):
            features = runtime.encode(episode.frames[index : index + 1])
            result = runtime.step(features, session)
            session.state = result.state
            pairs = {
                "features": (features[0], expected.features[index]),
                "scores": (result.scores, expected.scores[index]),
            }
            if result.scores.ndim == 1 or not undecided(expected.scores[index], tolerances.scores):
                pairs["actions"] = (result.action, expected.actions[index])
            for what, (found, wanted) in pairs.items():
                difference = float(np.abs(found.astype(np.float64) - wanted).max())
                if not difference <= getattr(tolerances, what):  # NaN too
                    raise PackageError(
                        f"{what} of {episode.name}, frame {index}: expected onnxruntime within "
                        f"{getattr(tolerances, what):g} of torch, got {difference:g} away; the export is not the policy"
                    )
                worst[what] = max(worst[what], difference)
    return worst["scores"]


def _check_self_test(folder: Path) -> None:
    result = self_test(folder, runs=5, budget=_NO_LIMIT)
    if not result.passed:
        raise PackageError(f"the finished package fails its own self-test: {'; '.join(result.failures[:3])}")
