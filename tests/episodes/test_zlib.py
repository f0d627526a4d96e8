"""Packed frames are zlib streams, whichever library wrote them, and each reads what the other wrote."""

import zlib
from types import ModuleType

import numpy as np
import pytest
from isal import isal_zlib

from components.episodes import _zlib

FRAME = np.tile(np.arange(720 * 160, dtype=np.uint32).astype(np.uint8), 3).tobytes()


@pytest.mark.parametrize("library", [zlib, isal_zlib], ids=["zlib", "isal"])
def test_packed_by_either_library_is_unpacked_by_both(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_zlib, "fast_zlib", library)

    packed = _zlib.pack(memoryview(FRAME))

    assert len(packed) < len(FRAME) / 3
    assert zlib.decompress(packed) == isal_zlib.decompress(packed) == FRAME
