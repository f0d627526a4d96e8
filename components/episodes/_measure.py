"""What an episode's bytes say about it: the summary that the checks judge.

`Meter` takes one frame at a time, so that an episode is never in memory as a whole.
"""

import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.contracts import EpisodeSummary
from components.contracts.errors import EpisodeError

from ._episode import Episode, EpisodeAttributes
from ._hash import frame_hash, hashed_frames
from ._instructions import instruction_for
from ._keys import key_of
from ._names import SCENARIOS, parse_name, parse_position
from ._quality import FrameQuality, driving_summary, frame_quality, frames_summary

_SAMPLED_SIDE = 90
_BLANK_DEVIATION = 2.0
"""Standard deviation of a frame's values, of 255."""
_QUALITY_FRAMES = 60
"""Of long recordings, as many frames at most are looked at for sharpness, exposure and colour."""

ColourOrder = Literal["bgr", "rgb"]


def content_digest(images: NDArray[np.uint8], actions: NDArray[np.float32]) -> str:
    """SHA-256 of shapes, frames (as BGR, the order in which robots store them) and actions: the same for two files
    that hold the same episode in other bytes.

    Args:
        images: (T, H, W, 3) RGB.
        actions: (T, 3).
    """
    digest = _content_of(images.shape)
    for frame in images:
        digest.update(np.ascontiguousarray(frame[..., ::-1]).data)
    return _content_with(digest, actions)


def measure(episode: Episode, *, sha256: str, robot: str, name: str | None = None) -> EpisodeSummary:
    """Measure an episode that is in memory. See `Meter`."""
    meter = Meter(episode.images.shape, colour_order="rgb")
    for frame in episode.images:
        meter.add(frame)
    return meter.summary(
        episode.actions, episode.events, episode.attributes, sha256=sha256, robot=robot, name=name
    )  # fmt: skip


class Meter:
    """Measures an episode frame by frame.

    Brightness and blankness are of every n-th row and column (about 90 each); sharpness, exposure and colour of some
    lines of at most 60 frames; the rest is exact.

    Args:
        shape: (T, H, W, 3) of all its frames.
        colour_order: of the frames that come.
    """

    def __init__(self, shape: tuple[int, ...], *, colour_order: ColourOrder = "bgr") -> None:
        self._shape = shape
        self._order = colour_order
        self._content = _content_of(shape)
        self._seen = 0
        self._values = self._total = self._blank = 0
        self._hashes: dict[int, bytes] = {}
        self._qualities: list[FrameQuality] = []
        self._every = -(-shape[0] // _QUALITY_FRAMES)
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._repeats: list[int] = []
        """Frames equal to their predecessor."""

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Take the next frame, (H, W, 3) uint8. It is kept until the next one is there: do not write into it."""
        stored = frame if self._order == "bgr" else frame[..., ::-1]
        self._content.update(np.ascontiguousarray(stored).data)
        rows, columns = (max(1, side // _SAMPLED_SIDE) for side in frame.shape[:2])
        sample = np.ascontiguousarray(frame[::rows, ::columns])
        self._total += int(sample.sum(dtype=np.int64))
        self._values += sample.size
        self._blank += float(sample.std(dtype=np.float32)) < _BLANK_DEVIATION
        if self._seen % self._every == 0:
            self._qualities.append(frame_quality(frame if self._order == "rgb" else frame[..., ::-1]))
        if self._seen in hashed_frames(self._shape[0]):
            self._hashes[self._seen] = frame_hash(frame)
        if self._last and np.array_equal(sample, self._last[1]) and np.array_equal(frame, self._last[0]):
            self._repeats.append(self._seen)
        self._last = frame, sample
        self._seen += 1

    def summary(
        self,
        actions: NDArray[np.float32],
        events: tuple[str, ...],
        attributes: EpisodeAttributes,
        *,
        sha256: str,
        robot: str,
        name: str | None = None,
    ) -> EpisodeSummary:
        """The summary, once every frame was added.

        Args:
            sha256: of the file.
            robot: who uploaded it; the file's own claim is not believed.
            name: the uploaded name; None takes the file's.

        Raises:
            EpisodeError: rule `length`: as many frames as the shape says were not added.
        """
        if self._seen != self._shape[0]:
            raise EpisodeError("length", f"expected {self._shape[0]} frames, measured {self._seen}")
        name = name or attributes.name
        parts = parse_name(name)
        scenario = parts.scenario or (attributes.scenario if attributes.scenario in SCENARIOS else None)
        collected_at = attributes.collected_at or parts.recorded_at
        finite = np.where(np.isfinite(actions), actions, np.nan)
        keys = Counter(key_of(action) or "other" for action in actions[1:])
        return EpisodeSummary(
            sha256=sha256,
            content_sha256=_content_with(self._content.copy(), actions),
            name=name,
            robot=robot,
            session=attributes.session or _session(robot, collected_at),
            scenario=scenario,
            pattern=parts.pattern,
            distance=parts.distance,
            instruction=attributes.instruction or (instruction_for(scenario) if scenario else ""),
            source=attributes.source,
            collected_at=collected_at.replace(tzinfo=collected_at.tzinfo or UTC) if collected_at else None,
            frames=self._seen,
            width=self._shape[2],
            height=self._shape[1],
            stated_frames=attributes.num_frames,
            stated_duration_s=attributes.total_duration_s,
            frame_zero_is_start=events[0] == "episode_start" and not actions[0].any(),
            non_finite_actions=int((~np.isfinite(actions)).sum()),
            action_min=_extreme(np.fmin.reduce(finite, axis=0)),
            action_max=_extreme(np.fmax.reduce(finite, axis=0)),
            unknown_key_fraction=keys["other"] / max(keys.total(), 1),
            key_counts=dict(sorted(keys.items())),
            brightness_mean=self._total / self._values,
            blank_frames=self._blank,
            frozen_frames=sum(bool((actions[index - 1] != 0).any()) for index in self._repeats),
            perceptual_hash=b"".join(self._hashes[index] for index in hashed_frames(self._seen)).hex(),
            position=parse_position(name, attributes.position),
            colour_order=attributes.colour_order,
            colour_basis="stated" if "colour_order" in attributes.model_fields_set else "unknown",
            **frames_summary(self._qualities),
            **driving_summary(actions),
        )


def _content_of(shape: tuple[int, ...]) -> "hashlib._Hash":
    return hashlib.sha256(f"frames {shape} BGR, actions".encode())


def _content_with(frames: "hashlib._Hash", actions: NDArray[np.float32]) -> str:
    frames.update(np.ascontiguousarray(actions, dtype="<f4").data)
    return frames.hexdigest()


def _session(robot: str, collected_at: datetime | None) -> str:
    """Files of robots that name no session: one a day."""
    return f"{robot}-{collected_at:%Y%m%d}" if collected_at else f"{robot}-undated"


def _extreme(values: NDArray[np.float32]) -> tuple[float, float, float] | None:
    return None if np.isnan(values).any() else (float(values[0]), float(values[1]), float(values[2]))
