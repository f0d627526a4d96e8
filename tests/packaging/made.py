"""A real package from a tiny untrained policy: recorded files, a dataset, weights and a report, all in a folder store.

Beside the tests of packaging, those of the robot's runtime and of the Bento use it.
"""

import functools
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import torch

from components.contracts import (
    DatasetSpec,
    DatasetVersion,
    Ensemble,
    EpisodeRecord,
    EvaluationReport,
    Lineage,
    PackageManifest,
    PolicyPackage,
    TrainedPolicy,
)
from components.datasets import build_dataset
from components.episodes import (
    KEYS,
    SCENARIOS,
    EpisodeAttributes,
    EpisodeWriter,
    instruction_for,
    make_name,
    measure,
    read_episode,
)
from components.packaging import download_package, package
from components.policies import build_module, recipes, save_weights
from components.storage import FolderStore
from tests.reports import make_report

LEFT = instruction_for("1box_vert_left")
RIGHT = instruction_for("1box_vert_right")
LINEAGE = Lineage(code_revision="c0ffee", python="3.11.9", packages={}, machine="Linux x86_64, 2 CPUs")
FRAMES = 6
_FOLDER = tempfile.TemporaryDirectory(prefix="drover-made-")


@functools.cache
def made_once() -> "Made":
    """One for all tests of this process: to export takes seconds."""
    return make(Path(_FOLDER.name))


@dataclass(frozen=True)
class Made:
    """What went in and came out."""

    store: FolderStore
    dataset: DatasetVersion
    subject: TrainedPolicy | Ensemble
    report: EvaluationReport
    package: PolicyPackage
    folder: Path
    """The package, downloaded. Tests that alter it copy it first."""

    def copy(self, target: Path) -> Path:
        """A package folder of one's own."""
        return Path(shutil.copytree(self.folder, target))


def make(root: Path, *, width: int = 160, height: int = 90, episodes: int = 40) -> Made:
    """Record, build, package and download."""
    store = FolderStore(root / "store")
    dataset = build_dataset(store, DatasetSpec(), record_episodes(store, root, episodes, width, height))
    subject = untrained_ensemble(store, dataset)
    report = report_on(subject, dataset)
    made = package(store, dataset, subject, report)
    return Made(store, dataset, subject, report, made, download_package(store, made, root / "package"))


def camera_frame(seed: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: smooth colours, another picture for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(2 * np.pi * (rng.uniform(0.5, 3) * x + rng.uniform(0.5, 3) * y + rng.random())) for _ in range(3)]
    return np.rint(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def record_episodes(store: FolderStore, root: Path, count: int, width: int, height: int) -> list[EpisodeRecord]:
    """Files as robots write them, admitted."""
    records = []
    for index in range(count):
        scenario = SCENARIOS[index % len(SCENARIOS)]
        moment = datetime(2025, 8, 15, 10, tzinfo=UTC) + timedelta(hours=index)
        name = make_name(moment, scenario)
        attributes = EpisodeAttributes(name=name, session=f"session-{index}", instruction=instruction_for(scenario))
        keys = ["space", *(("W", "Q", "E", "A", "D")[(index + step) % 5] for step in range(FRAMES - 1))]
        path = root / f"{name}.h5"
        with EpisodeWriter(path, attributes, height, width, sync=False) as writer:
            for step, key in enumerate(keys):
                event = "start_action" if step else "episode_start"
                writer.append(camera_frame(index * 100 + step, height, width), KEYS[key], event)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        file = store.put_file("episodes", f"{sha256}.h5", path)
        records.append(
            EpisodeRecord(file=file, summary=measure(read_episode(path), sha256=sha256, robot=f"robot-{index % 4}"))
        )
        path.unlink()
    return records


def untrained(
    store: FolderStore,
    dataset: DatasetVersion,
    name: str,
    *,
    head: str = "lstm",
    seed: int = 0,
    action_space: str = "keys",
) -> TrainedPolicy:
    """A member with random weights, made lively so that its actions differ from frame to frame."""
    recipe = recipes.compact_lstm if head == "lstm" else recipes.compact_mlp
    spec = recipe(dataset.axes, features=16, hidden=16, action_space=action_space)
    torch.manual_seed(seed)
    module = build_module(spec, dataset.vocabulary)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.7)
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=dataset.vocabulary, weights=save_weights(store, module.state_dict()),
        dataset=dataset.version, curve=(), best_epoch=0, lineage=LINEAGE,
    )  # fmt: skip


def untrained_ensemble(store: FolderStore, dataset: DatasetVersion) -> Ensemble:
    """One member with a memory, one without."""
    members = (untrained(store, dataset, "lstm", seed=1), untrained(store, dataset, "mlp", head="mlp", seed=2))
    return Ensemble(
        members=members, weights=(0.7, 0.3), dataset=dataset.version, validation_loss=1.0, validation_loss_held_out=1.0
    )


def report_on(subject: TrainedPolicy | Ensemble, dataset: DatasetVersion) -> EvaluationReport:
    """A report that a contract accepts; its figures mean nothing."""
    return make_report(subject, dataset=dataset.version, axes=dataset.axes, frames=FRAMES - 1, success=None)


def change(folder: Path, *, files: dict[str, bytes] | None = None, **fields: object) -> PackageManifest:
    """Alter a package as a builder's mistake would: its manifest, hashes included, agrees with it."""
    path = folder / "manifest.json"
    manifest = PackageManifest.parse(path.read_bytes(), source=str(path))
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
    listing = {
        "files": manifest.files | {name: hashlib.sha256(data).hexdigest() for name, data in (files or {}).items()},
        "sizes": manifest.sizes | {name: len(data) for name, data in (files or {}).items()},
    }
    changed = PackageManifest.model_validate(manifest.model_dump() | listing | fields)
    path.write_bytes(changed.canonical_json())
    return changed
