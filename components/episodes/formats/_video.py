"""Frames in MP4 files, by PyAV. Loads `av`."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import EpisodeError

from ._images import check_size

Codec = Literal["h264-lossless", "av1", "h264"]

_CODECS: dict[Codec, tuple[str, str, dict[str, str]]] = {
    "h264-lossless": ("libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast", "bf": "0"}),
    "av1": ("libsvtav1", "yuv420p", {"crf": "30", "preset": "8"}),
    "h264": ("libx264", "yuv420p", {"crf": "18", "preset": "veryfast", "bf": "0"}),
}
_KEYFRAME_EVERY = 2
"""A training loader jumps: it decodes at most two frames for one."""


class VideoWriter:
    """One MP4 of a constant rate: frame n is shown at n / fps."""

    def __init__(self, path: Path, codec: Codec, *, fps: int, height: int, width: int) -> None:
        encoder, pixels, options = _CODECS[codec]
        if pixels == "yuv420p" and (height % 2 or width % 2):
            raise EpisodeError(
                "frames",
                f"expected an even width and height for {codec}, got {width}x{height}; use h264-lossless or images",
            )
        self.path, self.pixels = path, "gbrp" if pixels == "rgb24" else pixels
        self.frames = 0
        self.size = 0  # bytes that the encoder gave out; it may hold frames back
        self._container = av.open(path, "w", format="mp4", options={"movflags": "faststart"})
        stream: Any = self._container.add_stream(encoder, rate=fps, options=options | {"g": str(_KEYFRAME_EVERY)})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = Fraction(1, fps)
        self._stream = stream

    def append(self, image: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 RGB."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = self.frames
        frame.time_base = self._stream.codec_context.time_base
        self._mux(self._stream.encode(frame))
        self.frames += 1

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self.size += packet.size
            self._container.mux(packet)

    def close(self) -> None:
        self._mux(self._stream.encode())
        self._container.close()


class VideoReader:
    """Frames of one MP4 by their time, decoded once and in order as long as the times rise."""

    def __init__(self, path: Path, *, tolerance_s: float) -> None:
        self._path, self._tolerance_s = path, tolerance_s
        self._frames = self._decoded()
        self._near: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None

    def at(self, time_s: float) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: the frame nearest to `time_s`.

        Raises:
            EpisodeError: `video`, there is none within the tolerance, or the file is broken.
        """
        try:
            found = self._nearest(time_s)
        except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
            raise EpisodeError("video", f"{self._path.name}: expected an MP4 video, but: {error}") from None
        if found is None or abs(found[0] - time_s) > self._tolerance_s:
            where = f"the nearest is at {found[0]:.3f} s" if found else "it holds none"
            raise EpisodeError("video", f"{self._path.name}: expected a frame at {time_s:.3f} s, {where}")
        image: NDArray[np.uint8] = found[1].to_ndarray(format="rgb24")
        return image

    def _nearest(self, time_s: float) -> tuple[float, Any] | None:
        if self._near is not None and time_s < self._near[0] - self._tolerance_s:
            self._frames, self._near, self._next = self._decoded(), None, None
        if self._near is None:
            self._near = self._next = next(self._frames, None)
        while self._near is not None and self._next is not None and self._next[0] <= time_s:
            self._near, self._next = self._next, next(self._frames, None)
        if self._near and self._next and abs(self._next[0] - time_s) < abs(self._near[0] - time_s):
            return self._next
        return self._near

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """From a file object and as MP4 alone: FFmpeg opens no other file and no address that this one names."""
        with self._path.open("rb") as file, av.open(file, "r", format="mp4") as container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise EpisodeError("video", f"{self._path.name}: expected a video stream, found none")
            stream = container.streams.video[0]
            check_size(stream.codec_context.width, stream.codec_context.height, self._path.name)
            for frame in container.decode(stream):
                check_size(frame.width, frame.height, self._path.name)
                yield float(frame.time or 0.0), frame

    def close(self) -> None:
        self._frames = iter(())
        self._near = self._next = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
