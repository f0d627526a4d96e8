"""Row 36, evil HDF5, at the size of real episodes: refused by its rule, in bounded memory and time, nothing else read.

The corpus of rules is tests/ingest/test_evil_files.py; here are files that only hurt when they are large or deep.
"""

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from components.ingest import Limits
from components.ingest._process import ParsingProcess, StoppedError
from components.storage import sha256_of_file

HD = (720, 1280, 3)
LIMITS = Limits(wall_s=60)
MEMORY = 300_000_000


@pytest.fixture(scope="module")
def parser() -> Iterator[ParsingProcess]:
    process = ParsingProcess(LIMITS)
    yield process
    process.close()


def write(path: Path, change: Callable[[h5py.File], None], *, without: tuple[str, ...] = (), frames: int = 3) -> Path:
    """An episode of 720p frames with one thing wrong."""
    blank = zlib.compress(bytes(int(np.prod(HD))), 1)
    with h5py.File(path, "w") as file:
        if "images" not in without:
            images = file.create_dataset("images", (frames, *HD), np.uint8, chunks=(1, *HD), compression="gzip")
            for index in range(frames):
                images.id.write_direct_chunk((index, 0, 0, 0), blank)
        if "actions" not in without:
            file["actions"] = np.zeros((frames, 3), np.float32)
        if "action_event_types" not in without:
            file.create_dataset("action_event_types", data=["start_action"] * frames, dtype=h5py.string_dtype("utf-8"))
        change(file)
    return path


def judged(parser: ParsingProcess, path: Path) -> str:
    """The verdict; the process must live on, within its memory."""
    job = {"path": str(path), "sha256": sha256_of_file(path), "robot": "r1", "name": path.stem}
    answer = parser.ask(job)
    assert peak_memory(parser.pid) < MEMORY
    return str(answer.get("rule", "accepted"))


def peak_memory(pid: int | None) -> int:
    """VmHWM: bytes that the process occupied at most, libraries and all."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM of process {pid}")


def bomb(size: int) -> bytes:
    """A deflate stream of `size` zeros (whole 16 MiB), made of one block again and again."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // 2**24) + packer.flush()


def inflating(
    name: str, shape: tuple[int, ...], chunk: tuple[int, ...], **options: bool
) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        kind = np.uint8 if name == "images" else np.float32
        data = file.create_dataset(name, shape, kind, chunks=chunk, compression="gzip", **options)
        for start in np.ndindex(*(-(-side // step) for side, step in zip(shape, chunk, strict=True))):
            offset = tuple(at * step for at, step in zip(start, chunk, strict=True))
            data.id.write_direct_chunk(offset, bomb(2**32) if not any(start) else b"x")

    return change


@pytest.mark.parametrize(
    ("name", "change", "rules"),
    [
        ("images", inflating("images", (3, *HD), (1, *HD)), {"bomb"}),
        ("images", inflating("images", (3, *HD), (3, *HD)), {"bomb"}),
        ("images", inflating("images", (3, *HD), (1, 360, 640, 3)), {"bomb", "unreadable"}),
        ("images", inflating("images", (3, *HD), (1, *HD), shuffle=True), {"bomb", "unreadable"}),
        ("actions", inflating("actions", (3, 3), (3, 3)), {"bomb", "unreadable"}),
    ],
    ids=["a frame", "three frames", "a tile", "shuffled", "actions"],
)
def test_chunk_that_inflates_to_four_gigabytes_is_refused_in_little_memory(
    tmp_path: Path, parser: ParsingProcess, name: str, change: Callable[[h5py.File], None], rules: set[str]
) -> None:
    assert judged(parser, write(tmp_path / "bomb.h5", change, without=(name,))) in rules


@pytest.mark.parametrize(("length", "rules"), [(1_000_000, {"bomb"}), (100_000_000, {"bomb", "unreadable", "memory"})])
def test_event_types_of_megabytes_are_refused(
    tmp_path: Path, parser: ParsingProcess, length: int, rules: set[str]
) -> None:
    """A text of any length is a reference into the file, and any number of them may be to one."""

    def change(file: h5py.File) -> None:
        file.create_dataset("action_event_types", (3,), h5py.string_dtype("utf-8"))
        file["action_event_types"][:] = ["x" * length, "y", "z"]

    assert judged(parser, write(tmp_path / "texts.h5", change, without=("action_event_types",))) in rules


def test_attribute_of_any_length_that_is_megabytes_is_no_danger(tmp_path: Path, parser: ParsingProcess) -> None:
    def change(file: h5py.File) -> None:
        file.attrs.create("instruction", "x" * 30_000_000, dtype=h5py.string_dtype("utf-8"))

    path = write(tmp_path / "attribute.h5", change)
    try:
        assert judged(parser, path) in {"accepted", "too-large"}
    except StoppedError as error:  # where memory ends in the middle of a library, that ends the process: a verdict too
        assert error.rule == "worker-killed"  # noqa: PT017
    assert judged(parser, write(tmp_path / "good.h5", lambda file: None)) == "accepted"


def test_file_of_groups_twenty_thousand_deep_is_refused_at_once(tmp_path: Path, parser: ParsingProcess) -> None:
    def change(file: h5py.File) -> None:
        group = file
        for _ in range(20_000):
            group = group.create_group("g")

    assert judged(parser, write(tmp_path / "deep.h5", change)) == "schema"


def test_groups_that_contain_each_other_are_refused(tmp_path: Path, parser: ParsingProcess) -> None:
    def change(file: h5py.File) -> None:
        first, second = file.create_group("images"), file.create_group("more")
        first["other"], second["other"] = second, first

    assert judged(parser, write(tmp_path / "cycle.h5", change, without=("images",))) == "schema"


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (h5py.regionref_dtype, "wrong-type"),
        (h5py.ref_dtype, "wrong-type"),
        (h5py.vlen_dtype(np.float64), "wrong-type"),
        (np.dtype([("x", "f4"), ("deep", [("y", "f4", (1000,))])]), "wrong-type"),
        (np.dtype("V4096"), "wrong-type"),
        (np.dtype("f2"), "wrong-type"),
        (np.dtype("c8"), "wrong-type"),
    ],
)
def test_types_that_no_episode_has_are_refused_unread(
    tmp_path: Path, parser: ParsingProcess, kind: np.dtype, rule: str
) -> None:
    def change(file: h5py.File) -> None:
        file.create_dataset("actions", (3, 3), kind)

    assert judged(parser, write(tmp_path / "type.h5", change, without=("actions",))) == rule


def test_episode_behind_a_user_block_is_read_as_one(tmp_path: Path, parser: ParsingProcess) -> None:
    plain = write(tmp_path / "plain.h5", lambda file: None)
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as file, h5py.File(plain) as source:
        for name in source:
            source.copy(name, file)
    with (tmp_path / "block.h5").open("r+b") as raw:
        raw.write(b"#!/bin/sh\nexit 1\n")
    assert judged(parser, tmp_path / "block.h5") == "accepted"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_episode_is_unreadable_wherever_it_ends(tmp_path: Path, parser: ParsingProcess, share: float) -> None:
    path = write(tmp_path / "torn.h5", lambda file: None)
    os.truncate(path, int(path.stat().st_size * share))
    assert judged(parser, path) == "unreadable"


def test_largest_frames_that_are_allowed_stay_within_the_memory(tmp_path: Path, parser: ParsingProcess) -> None:
    """Frames of 32 MiB, twenty of them."""

    def change(file: h5py.File) -> None:
        shape = (3, 2730, 4096, 3)
        images = file.create_dataset("images", shape, np.uint8, chunks=(1, *shape[1:]), compression="gzip")
        for index in range(len(images)):
            packed = zlib.compress(np.random.default_rng(index).bytes(int(np.prod(shape[1:]))), 1)
            images.id.write_direct_chunk((index, 0, 0, 0), packed)
        file.attrs["colour_order"] = "rgb"

    path = write(tmp_path / "large.h5", change, without=("images",))
    assert judged(parser, path) == "accepted"


@pytest.mark.slow
def test_half_a_gigabyte_of_frames_takes_no_more_memory_than_one(tmp_path: Path, parser: ParsingProcess) -> None:
    path = write(tmp_path / "long.h5", lambda file: None, frames=190)
    assert judged(parser, path) == "accepted"
    assert peak_memory(parser.pid) < MEMORY
