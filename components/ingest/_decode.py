"""A scanned file's frames, one chunk in memory at a time, each decoded once."""

import math
from collections.abc import Iterator

import h5py
import numpy as np
from h5py import h5d, h5z
from numpy.typing import NDArray

from components.episodes import fast_zlib

from ._limits import Limits
from ._structure import RefusedError


def frames(images: h5py.Dataset, limits: Limits) -> Iterator[NDArray[np.uint8]]:
    """Each frame as stored, (H, W, 3) uint8; good until the next one is asked for and, read only, after that.

    Raises:
        RefusedError: rule `unreadable` or `bomb`: a chunk does not inflate to what it declares.
        OSError: HDF5 cannot decode it.
    """
    properties = images.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    chunk: tuple[int, ...] | None = images.chunks
    if chunk and chunk[1:] == images.shape[1:] and filters == [h5z.FILTER_DEFLATE]:
        yield from _whole_frames(images, chunk)
        return
    size = math.prod(images.shape[1:])
    count = max(1, min(chunk[0] if chunk else len(images), limits.chunk_bytes // size))
    for start in range(0, len(images), count):
        yield from images[start : start + count]


def _whole_frames(images: h5py.Dataset, chunk: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """The common case, past HDF5's filter: no copies, and no more memory than the size that was declared."""
    for start in range(0, len(images), chunk[0]):
        data = _inflated(images.id, (start, 0, 0, 0), math.prod(chunk))
        decoded: NDArray[np.uint8] = np.frombuffer(data, np.uint8).reshape(chunk)
        yield from decoded[: len(images) - start]


def _inflated(dataset: h5d.DatasetID, offset: tuple[int, ...], size: int) -> bytes:
    skipped, stored = dataset.read_direct_chunk(offset)
    expected = f"the chunk at {offset} to be {size} bytes"
    if skipped:
        data, rest = bytes(stored), b""
    else:
        packed = fast_zlib.decompressobj()
        try:
            data = packed.decompress(stored, size)
            rest = b"" if packed.eof else packed.decompress(packed.unconsumed_tail, 1)
        except fast_zlib.error as error:
            raise RefusedError("unreadable", expected, f"what does not inflate: {error}") from None
        if not (packed.eof or rest):
            raise RefusedError("unreadable", expected, "a part of it")
    if rest or len(data) > size:
        raise RefusedError("bomb", expected, "more")
    if len(data) < size:
        raise RefusedError("unreadable", expected, f"{len(data)}")
    return data
