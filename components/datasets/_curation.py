"""What people decide about admitted episodes: an append-only log over files that never change.

`datasets/edits/<sha256>/<n>.json` holds the n-th edit of one episode. It is written if absent, so of two writers one
wins and the other is told.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from components.contracts import EpisodeEdit, EpisodeRecord
from components.contracts.errors import AlreadyExistsError, DatasetError
from components.episodes import SCENARIOS, instruction_for, words
from components.storage import ObjectStore

from ._documents import BUCKET, read_documents

_KEY = re.compile(r"^edits/(?P<sha256>[0-9a-f]{64})/(?P<number>[1-9]\d*)\.json$")


def curate(store: ObjectStore, records: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    """The records as edited, without those that were deleted: what datasets are built from. The order is kept.

    A record that no edit changes is returned as it is, so a change that is taken back gives the dataset of before.
    """
    edits = read_edits(store)
    curated = ((record, edits.get(record.file.sha256, ())) for record in records)
    return [apply_edits(record, made) for record, made in curated if not is_excluded(made)]


def read_edits(store: ObjectStore) -> dict[str, tuple[EpisodeEdit, ...]]:
    """SHA-256 -> an episode's edits, the first one first; only episodes that have some."""
    return _history(store, "edits/")


def edit_history(store: ObjectStore, sha256: str) -> tuple[EpisodeEdit, ...]:
    """One episode's edits, the first one first."""
    return _history(store, f"edits/{sha256}/").get(sha256, ())


def apply_edits(record: EpisodeRecord, edits: Iterable[EpisodeEdit]) -> EpisodeRecord:
    """The record as its edits leave it. `excluded` is none of a record's fields."""
    changes: dict[str, str] = {}
    for edit in edits:
        changes |= {
            field: value
            for field, value in (("instruction", edit.instruction), ("scenario", edit.scenario))
            if value is not None
        }
    if not changes:
        return record
    return record.model_copy(update={"summary": record.summary.model_copy(update=changes)})


def is_excluded(edits: Iterable[EpisodeEdit]) -> bool:
    """Whether the last edit that says so says yes."""
    said = [edit.excluded for edit in edits if edit.excluded is not None]
    return bool(said and said[-1])


def edit_episode(
    store: ObjectStore,
    record: EpisodeRecord,
    *,
    instruction: str | None = None,
    scenario: str | None = None,
    excluded: bool | None = None,
    reason: str,
    by: str,
) -> EpisodeEdit | None:
    """Write an episode's next edit.

    Args:
        record: As admitted, without edits.
        instruction: What the robot was told; None leaves it.
        scenario: One of `episodes.SCENARIOS`; None leaves it.
        excluded: True deletes it from every dataset to come, False restores it; no byte is removed.
        reason: Why, for whoever reads the history.
        by: Who.

    Returns:
        The edit; None if the episode is as asked for already: then nothing is written.

    Raises:
        DatasetError: a field is not what it should be, instruction and scenario would contradict each other, or
            another writer edited the episode in the same moment.
    """
    sha256, name = record.file.sha256, f"{record.summary.robot}/{record.summary.name}"
    edits = edit_history(store, sha256)
    before = apply_edits(record, edits).summary
    asked: dict[str, Any] = {
        "instruction": None if instruction is None else _instruction(instruction),
        "scenario": None if scenario is None else _scenario(scenario),
        "excluded": excluded,
    }
    now = {"instruction": before.instruction, "scenario": before.scenario, "excluded": is_excluded(edits)}
    if all(value is None or value == now[field] for field, value in asked.items()):
        return None
    if instruction is not None or scenario is not None:
        _agree(name, asked["instruction"] or before.instruction, asked["scenario"] or before.scenario)
    number = edits[-1].number + 1 if edits else 1
    edit = _made(sha256=sha256, number=number, reason=reason.strip(), by=by.strip(), at=datetime.now(UTC), **asked)
    try:
        store.put(BUCKET, f"edits/{sha256}/{number}.json", edit.canonical_json(), if_absent=True)
    except AlreadyExistsError:
        raise DatasetError(
            f"{name}: somebody else edited it in the same moment, and yours was not written; look at theirs "
            f"(drover episodes show {sha256[:12]}) and edit again"
        ) from None
    return edit


def _history(store: ObjectStore, prefix: str) -> dict[str, tuple[EpisodeEdit, ...]]:
    found = [(match["sha256"], int(match["number"]), key) for key in _keys(store, prefix) if (match := _KEY.match(key))]
    edits: dict[str, list[EpisodeEdit]] = defaultdict(list)
    for edit in read_documents(store, [key for _, _, key in sorted(found)], EpisodeEdit):
        edits[edit.sha256].append(edit)
    return {sha256: tuple(made) for sha256, made in edits.items()}


def _keys(store: ObjectStore, prefix: str) -> Iterable[str]:
    return (info.key for info in store.list(BUCKET, prefix))


def _instruction(text: str) -> str:
    text = text.strip()
    if not words(text) or not text.isprintable() or len(text) > 512:
        raise DatasetError(
            f"instruction: expected one line of at most 512 characters with words of a-z and 0-9, which are all that a "
            f"policy reads, got {text[:80]!r}"
        )
    return text


def _scenario(scenario: str) -> str:
    if scenario not in SCENARIOS:
        raise DatasetError(f"scenario: expected one of {', '.join(SCENARIOS)}, got {scenario!r}")
    return scenario


def _agree(name: str, instruction: str, scenario: str | None) -> None:
    """A policy learns sides from the instruction's words: one that names the other side only teaches it wrong."""
    side = scenario.rsplit("_", 1)[-1] if scenario in SCENARIOS else ""
    told = {"left", "right"} & set(words(instruction))
    if side and told and side not in told:
        raise DatasetError(
            f"{name}: expected an instruction that says {side}, as scenario {scenario} does, got {instruction!r}; "
            f"edit both at once, e.g. --instruction {instruction_for(scenario or '')!r}"
        )


def _made(**fields: Any) -> EpisodeEdit:
    try:
        return EpisodeEdit(**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        raise DatasetError(f"{fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}") from None
