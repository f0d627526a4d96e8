"""Records of episodes without their files: enough for everything that reads records alone."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from components.contracts import EpisodeRecord, EpisodeSummary, ObjectRef
from components.episodes import SCENARIOS, instruction_for, make_name
from components.storage import ObjectStore

BEGAN = datetime(2025, 8, 15, 10, tzinfo=UTC)


def made(number: int, *, warnings: tuple[str, ...] = (), **changes: Any) -> EpisodeRecord:
    """An episode of one of four robots; four make a session. Each looks unlike the others."""
    sha256 = hashlib.sha256(f"file {number}".encode()).hexdigest()
    scenario, session = SCENARIOS[number % 8], number // 4
    at = BEGAN + timedelta(minutes=number)
    fields: dict[str, Any] = {
        "sha256": sha256,
        "content_sha256": hashlib.sha256(f"content {number}".encode()).hexdigest(),
        "name": make_name(at, scenario, "variant" if number % 3 == 2 else "core", "medium"),
        "robot": f"robot-{session % 4 + 1}",
        "session": f"s{session}",
        "scenario": scenario,
        "pattern": "variant" if number % 3 == 2 else "core",
        "distance": "medium",
        "instruction": instruction_for(scenario),
        "source": "simulated",
        "collected_at": at,
        "frames": 18,
        "width": 16,
        "height": 9,
        "stated_frames": 18,
        "stated_duration_s": 36.0,
        "frame_zero_is_start": True,
        "non_finite_actions": 0,
        "action_min": (0.0, -1.15, 0.0),
        "action_max": (1.15, 0.0, 0.0),
        "unknown_key_fraction": 0,
        "brightness_mean": 100,
        "blank_frames": 0,
        "frozen_frames": 0,
        "perceptual_hash": hashlib.sha256(f"frames {number}".encode()).hexdigest()[:48],
        "key_counts": {"W": 10, "E": 7},
    }
    summary = EpisodeSummary(**(fields | changes))
    file = ObjectRef(uri=f"s3://episodes/{sha256}.h5", sha256=sha256, size=1000)
    return EpisodeRecord(file=file, summary=summary, warnings=warnings)


def admit(store: ObjectStore, records: list[EpisodeRecord]) -> None:
    """Put the records where ingest puts them."""

    def put(record: EpisodeRecord) -> None:
        store.put("episodes", f"{record.file.sha256}.json", record.canonical_json())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, records))
