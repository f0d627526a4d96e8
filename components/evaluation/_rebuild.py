"""Rebuild: run again what a report says was run, and compare every figure.

What is not covered: code of before. The code that is installed runs; where it is another revision, the differences say
so first. Wall-clock times (frames a second) are not compared.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from components import datasets, ingest
from components.contracts import (
    DatasetVersion,
    Ensemble,
    EpisodeRecord,
    EvaluationReport,
    Frozen,
    ObjectRef,
    Settings,
    Sha256,
    TrainedPolicy,
    TrialOutcome,
)
from components.contracts.errors import AlreadyExistsError, DatasetError, EvidenceError
from components.storage import ObjectStore, OverlayStore, fetch

from ._differences import Difference, Leaf, differences, document, figures, lineage, made, trials
from ._evaluate import evaluate
from ._reports import open_report

Level = Literal["evaluation", "members", "episodes"]
Progress = Callable[[str, int, int], None]
"""Called with (stage, done, in all)."""
_NAMED = 5
"""Things gone that an error names."""


class Rebuilt(Frozen):
    """What running it again gave."""

    report: Sha256
    """Digest of the report that was rebuilt."""
    level: Level
    lineage: tuple[Difference, ...]
    """Code, Python, packages and machine that are not those of before: what may explain the rest."""
    made: tuple[Difference, ...]
    """Dataset, weights, curves. Empty by nature where only the evaluation ran again."""
    figures: tuple[Difference, ...]
    compared: int
    """Figures, weights and trials that were compared."""
    again: EvaluationReport

    @property
    def equal(self) -> bool:
        return not self.made and not self.figures


def open_evidence(store: ObjectStore, wanted: str) -> EvaluationReport:
    """A report by how its digest begins, `latest`, or the path of a `report.json`.

    Raises:
        EvidenceError: none, or several.
        InvalidDocumentError: a file that is no report, or one that contradicts itself.
    """
    path = Path(wanted)
    if path.is_file():
        return EvaluationReport.parse(path.read_bytes(), source=wanted)
    if path.suffix or path.name != wanted:
        raise EvidenceError(
            f"expected a report's file, there is none at {wanted}; give a digest's beginning or `latest`"
        )
    return open_report(store, wanted)


def rebuild(
    store: ObjectStore,
    report: EvaluationReport,
    *,
    level: Level = "evaluation",
    keep: bool = False,
    workers: int = 2,
    settings: Settings | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Rebuilt:
    """Run again from the recorded lineage, and compare every figure with the report's.

    Nothing in the store is changed: what is made again is written to a folder that is gone afterwards.

    Args:
        store: Read alone, unless `keep`.
        report: What is claimed.
        level: `evaluation`: from the stored dataset and weights. `members`: the members are trained and the ensemble is
            fitted again. `episodes`: the dataset is built again too, from the same episodes.
        keep: Keep the new report with all that it names beside the old one.
        workers: Processes that decode and drive; figures do not depend on it.
        settings: Where Ray is; None reads them from the environment.

    Raises:
        EvidenceError: what it takes is gone from the store; the message names each.
        IntegrityError: an object is there and is not the one that the report names.
    """
    dataset = _manifest(store, report)
    _require(store, report, dataset, level)
    hidden = ("datasets/builds/",) if level == "episodes" else ()
    with tempfile.TemporaryDirectory(prefix="drover-rebuild-") as folder:
        layer = OverlayStore(store, Path(folder) / "store", hidden=hidden)
        before = dataset
        if level == "episodes":
            dataset = _build(layer, before, workers, progress)
        members, ensemble = report.inputs.members, report.inputs.ensemble
        if level != "evaluation":
            members, ensemble = _train(
                layer, dataset, report, folder=Path(folder) / "training", settings=settings, progress=progress
            )
        again = evaluate(
            layer, dataset, members, ensemble,
            subject=report.subject, trials=report.inputs.trials, incumbent=report.inputs.incumbent,
            seed=report.inputs.seed, workers=workers,
            progress=lambda done, total: progress("evaluation", done, total),
        )  # fmt: skip
        found = _compare(layer, report, again, (before, dataset), level)
        if keep:
            for info in layer.written():
                with suppress(AlreadyExistsError):
                    store.put_file(info.bucket, info.key, layer.own.root / info.bucket / info.key, if_absent=True)
    return found


def _manifest(store: ObjectStore, report: EvaluationReport) -> DatasetVersion:
    try:
        return datasets.open_dataset(store, report.dataset)
    except DatasetError as error:
        raise EvidenceError(f"report {report.digest()[:12]} cannot be rebuilt: {error}") from None


def _require(store: ObjectStore, report: EvaluationReport, dataset: DatasetVersion, level: Level) -> None:
    """Every object that is about to be read is there.

    Raises:
        EvidenceError: some are not.
    """
    wanted: list[tuple[str, str, str]] = []
    if level == "evaluation":
        policies: list[TrainedPolicy | Ensemble] = [*report.inputs.members, report.inputs.ensemble]
        wanted += [_weights(member) for policy in policies for member in _members(policy)]
    if report.inputs.incumbent is not None:
        wanted += [_weights(member) for member in _members(report.inputs.incumbent)]
    if level == "episodes":
        wanted += [(f"episode {item.name}", "episodes", f"{item.sha256}.h5") for item in dataset.episodes]
        wanted += [(f"record of {item.name}", "episodes", f"{item.sha256}.json") for item in dataset.episodes]
    else:
        shards = enumerate(dataset.shards)
        wanted += [(f"shard {index} of dataset {dataset.version[:12]}", ref.bucket, ref.key) for index, ref in shards]
    gone = [
        f"{what} (s3://{bucket}/{key})" for what, bucket, key in dict.fromkeys(wanted) if not store.stat(bucket, key)
    ]
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        raise EvidenceError(
            f"report {report.digest()[:12]} cannot be rebuilt from its {level}, gone from the store: "
            f"{', '.join(gone[:_NAMED])}{more}; bring them back from a copy, or rebuild from something earlier"
        )


def _members(policy: TrainedPolicy | Ensemble) -> tuple[TrainedPolicy, ...]:
    return (policy,) if isinstance(policy, TrainedPolicy) else policy.members


def _weights(member: TrainedPolicy) -> tuple[str, str, str]:
    return f"weights of {member.name}", member.weights.bucket, member.weights.key


def _build(layer: OverlayStore, before: DatasetVersion, workers: int, progress: Progress) -> DatasetVersion:
    """From the same episodes, told and named as the manifest says they were: later edits do not count."""
    known = {item.sha256: item for item in before.episodes}
    records: list[EpisodeRecord] = []
    for record in ingest.records(layer):
        if (item := known.get(record.file.sha256)) is not None:
            as_then = {"instruction": item.instruction, "scenario": item.scenario}
            records.append(record.model_copy(update={"summary": record.summary.model_copy(update=as_then)}))
    return datasets.build_dataset(
        layer, before.spec, records,
        workers=workers, progress=lambda done, total: progress("dataset", done, total),
    )  # fmt: skip


def _train(
    layer: OverlayStore,
    dataset: DatasetVersion,
    report: EvaluationReport,
    *,
    folder: Path,
    settings: Settings | None,
    progress: Progress,
) -> tuple[tuple[TrainedPolicy, ...], Ensemble]:
    """Every member as it was trained: alone, or by several workers together."""
    from components import training  # loads Ray

    epochs = {member.name: member.spec.training.epochs for member in report.inputs.members}
    together = [member for member in report.inputs.members if member.workers > 1]
    alone = {member.name: member.spec for member in report.inputs.members if member.workers == 1}
    trained: dict[str, TrainedPolicy] = {}

    def tell(name: str, metrics: object) -> None:
        progress(f"training {name}", getattr(metrics, "epoch", 0) + 1, epochs[name])

    for member in together:
        trained[member.name] = training.train(
            layer, dataset, member.spec, name=member.name, workers=member.workers,
            checkpoint_dir=folder, settings=settings, progress=tell,
        )  # fmt: skip
    if alone:
        fresh = training.train_members(layer, dataset, alone, checkpoint_dir=folder, settings=settings, progress=tell)
        trained |= {policy.name: policy for policy in fresh}
    members = tuple(trained[member.name] for member in report.inputs.members)
    return members, training.fit_ensemble(layer, dataset, members, name=report.inputs.ensemble.name)


def _compare(
    layer: OverlayStore,
    report: EvaluationReport,
    again: EvaluationReport,
    manifests: tuple[DatasetVersion, DatasetVersion],
    level: Level,
) -> Rebuilt:
    claimed, (driven, trials_compared) = figures(report), _trials(layer, report.trials, again.trials)
    before, after = made(report), made(again)
    if level == "episodes":
        before, after = (part | _built(item) for part, item in zip((before, after), manifests, strict=True))
    return Rebuilt(
        report=report.digest(),
        level=level,
        lineage=differences(lineage(report), lineage(again)),
        made=differences(before, after),
        figures=(*differences(claimed, figures(again)), *driven),
        compared=len(claimed) + trials_compared + (0 if level == "evaluation" else len(before)),
        again=again,
    )


def _built(manifest: DatasetVersion) -> dict[str, Leaf]:
    return {f"dataset/{path}": value for path, value in document(manifest).items()}


def _trials(layer: OverlayStore, before: ObjectRef | None, after: ObjectRef | None) -> tuple[list[Difference], int]:
    """Room by room and step by step; equal files are not opened."""
    if before is None or after is None or before.sha256 == after.sha256:
        differ = [] if before == after else [Difference(path="trials", before=_name(before), after=_name(after))]
        return differ, int(before is not None)
    if layer.stat(before.bucket, before.key) is None:
        return [Difference(path="trials", before=before.sha256, after=f"{after.sha256}, and the old file is gone")], 1
    old, new = (trials(_outcomes(layer, ref)) for ref in (before, after))
    found = []
    for who in {**old, **new}:
        changed = differences(old.get(who, {}), new.get(who, {}))
        found += [item.model_copy(update={"path": f"trials/{who}/{item.path}"}) for item in changed[:1]]
    return found, len(old)


def _name(ref: ObjectRef | None) -> str | None:
    return ref.sha256 if ref else None


def _outcomes(layer: OverlayStore, ref: ObjectRef) -> list[TrialOutcome]:
    return [TrialOutcome.parse(line, source=ref.uri) for line in fetch(layer, ref).splitlines()]
