"""What an episode's bytes say about it: the summary that the checks judge."""

import hashlib
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from components.contracts import EpisodeSummary, FrameSpec

from ._episode import Episode
from ._frames import resize_frame
from ._instructions import instruction_for
from ._keys import key_of
from ._names import SCENARIOS, parse_name

_SAMPLED_ROWS = 90
_BLANK_DEVIATION = 2.0
"""Standard deviation of a frame's values, of 255."""


def content_digest(images: NDArray[np.uint8], actions: NDArray[np.float32]) -> str:
    """SHA-256 of shapes, RGB frames and actions: the same for two files that hold the same episode in other bytes."""
    digest = hashlib.sha256(repr((images.shape, actions.shape)).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(actions, dtype="<f4").data)
    return digest.hexdigest()


def perceptual_hash(images: NDArray[np.uint8]) -> str:
    """Difference hash of the first, middle and last frame: 3 x 64 bits, 48 hex digits. A bit says whether a cell of an
    8x8 grid is darker than its right neighbour."""
    bits = []
    for index in (0, len(images) // 2, len(images) - 1):
        frame = images[index]
        rows, columns = max(1, frame.shape[0] // 72), max(1, frame.shape[1] // 72)
        grey = resize_frame(np.ascontiguousarray(frame[::rows, ::columns]), FrameSpec(width=9, height=8)).sum(axis=2)
        bits.append(grey[:, 1:] > grey[:, :-1])
    return np.packbits(np.stack(bits)).tobytes().hex()


def hash_distance(one: str, other: str) -> int:
    """Bits in which two perceptual hashes differ: 0 to 192."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def measure(episode: Episode, *, sha256: str, robot: str, name: str | None = None) -> EpisodeSummary:
    """Measure an episode. Brightness and blankness are of every n-th row and column (about 90 rows); the rest is exact.

    Args:
        episode: frames in RGB.
        sha256: of the file.
        robot: who uploaded it; the file's own claim is not believed.
        name: the uploaded name; None takes the file's.
    """
    attributes, actions = episode.attributes, episode.actions
    name = name or attributes.name
    parts = parse_name(name)
    scenario = parts.scenario or (attributes.scenario if attributes.scenario in SCENARIOS else None)
    collected_at = attributes.collected_at or parts.recorded_at
    stride = max(1, episode.images.shape[1] // _SAMPLED_ROWS)
    sample = episode.images[:, ::stride, ::stride]
    finite = np.where(np.isfinite(actions), actions, np.nan)
    return EpisodeSummary(
        sha256=sha256,
        content_sha256=content_digest(episode.images, actions),
        name=name,
        robot=robot,
        session=attributes.session or _session(robot, collected_at),
        scenario=scenario,
        pattern=parts.pattern,
        distance=parts.distance,
        instruction=attributes.instruction or (instruction_for(scenario) if scenario else ""),
        source=attributes.source,
        collected_at=collected_at.replace(tzinfo=collected_at.tzinfo or UTC) if collected_at else None,
        frames=len(episode.images),
        width=episode.images.shape[2],
        height=episode.images.shape[1],
        stated_frames=attributes.num_frames,
        stated_duration_s=attributes.total_duration_s,
        frame_zero_is_start=episode.events[0] == "episode_start" and not actions[0].any(),
        non_finite_actions=int((~np.isfinite(actions)).sum()),
        action_min=_extreme(np.fmin.reduce(finite, axis=0)),
        action_max=_extreme(np.fmax.reduce(finite, axis=0)),
        unknown_key_fraction=_unknown_keys(actions),
        brightness_mean=float(sample.mean()),
        blank_frames=int((sample.std(axis=(1, 2, 3)) < _BLANK_DEVIATION).sum()),
        frozen_frames=_frozen(episode.images, sample, actions),
        perceptual_hash=perceptual_hash(episode.images),
    )


def _session(robot: str, collected_at: datetime | None) -> str:
    """Files of robots that name no session: one a day."""
    return f"{robot}-{collected_at:%Y%m%d}" if collected_at else f"{robot}-undated"


def _extreme(values: NDArray[np.float32]) -> tuple[float, float, float] | None:
    return None if np.isnan(values).any() else (float(values[0]), float(values[1]), float(values[2]))


def _unknown_keys(actions: NDArray[np.float32]) -> float:
    later = actions[1:]
    return sum(key_of(action) is None for action in later) / len(later) if len(later) else 0.0


def _frozen(images: NDArray[np.uint8], sample: NDArray[np.uint8], actions: NDArray[np.float32]) -> int:
    """Frames equal to their predecessor although the action between them was not zero."""
    alike = (sample[1:] == sample[:-1]).all(axis=(1, 2, 3)) & (actions[:-1] != 0).any(axis=1)
    return sum(bool((images[index + 1] == images[index]).all()) for index in np.flatnonzero(alike))
