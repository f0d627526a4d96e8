"""Files that are no episodes: each is refused by its rule, and nothing outside it is opened."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from components import ingest
from components.storage import FolderStore

Raw = Callable[..., Path]
SHAPE = (4, 36, 64, 3)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A file of somebody else's that blocks whoever opens it: to open it would show as a `timeout`."""
    path = tmp_path / "secret"
    os.mkfifo(path)
    return path


def _external_link(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file["images"] = h5py.ExternalLink(str(fifo), "/images")
    return path


def _external_link_beside(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        file["more"] = h5py.ExternalLink(str(fifo), "/")
    return path


def _soft_link(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("actions",))
    with h5py.File(path, "a") as file:
        file["actions"] = h5py.SoftLink("/images")
    return path


def _external_storage(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file.create_dataset("images", SHAPE, np.uint8, external=[(str(fifo), 0, h5py.h5f.UNLIMITED)])
    return path


def _virtual_dataset(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    layout = h5py.VirtualLayout(SHAPE, np.uint8)
    layout[:] = h5py.VirtualSource(str(fifo), "images", shape=SHAPE)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("images", layout)
    return path


def _bomb(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file.create_dataset("images", (7500, 720, 1280, 3), np.uint8, chunks=(1, 720, 1280, 3), compression="gzip")
    assert path.stat().st_size < 200_000
    return path


def _stuffed_chunk(raw: Raw, fifo: Path) -> Path:
    """Two stored bytes for each that the chunk declares: more than any compressor of real frames leaves."""
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        images = file.create_dataset("images", SHAPE, np.uint8, chunks=SHAPE, compression="gzip")
        images.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(os.urandom(200_000)))
    return path


def _too_large(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    frame = zlib.compress(os.urandom(2000) + bytes(4 * 2**20 - 2000), 1)
    with h5py.File(path, "a") as file:
        images = file.create_dataset(
            "images", (600, 1024, 1024, 3), np.uint8, chunks=(1, 1024, 1024, 3), compression="gzip"
        )
        for index in range(600):
            images.id.write_direct_chunk((index, 0, 0, 0), frame)
    return path


def _deep_groups(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        group = file
        for _ in range(500):
            group = group.create_group("g")
    return path


def _cycle(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        file["loop"] = file["/"]
    return path


def _many_members(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        for index in range(1000):
            file[f"d{index}"] = 1
    return path


def _group_for_a_dataset(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file.create_group("images")
    return path


def _missing_dataset(raw: Raw, fifo: Path) -> Path:
    return raw(without=("actions",))


def _odd_filter(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file.create_dataset("images", data=np.zeros(SHAPE, np.uint8), compression="lzf")
    return path


def _gzip_twice(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(SHAPE)
    properties.set_deflate(9)
    properties.set_deflate(9)
    with h5py.File(path, "a") as file:
        h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, h5py.h5s.create_simple(SHAPE), properties)
    return path


def _plug_in_filter(raw: Raw, fifo: Path) -> Path:
    """A filter that HDF5 would look for in shared libraries."""
    path = raw(without=("images",))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(SHAPE)
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(path, "a") as file:
        h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, h5py.h5s.create_simple(SHAPE), properties)
    return path


def _truncated(raw: Raw, fifo: Path) -> Path:
    path = raw()
    os.truncate(path, path.stat().st_size * 2 // 3)
    return path


def _empty(raw: Raw, fifo: Path) -> Path:
    path = raw()
    os.truncate(path, 0)
    return path


def _no_hdf5(raw: Raw, fifo: Path) -> Path:
    path = raw()
    path.write_bytes(b"\x80\x04\x95 not an episode" * 1000)
    return path


def _damaged_chunk(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        images = file.create_dataset("images", SHAPE, np.uint8, chunks=SHAPE, compression="gzip")
        images.id.write_direct_chunk((0, 0, 0, 0), os.urandom(5000))
    return path


def _wrong_shape(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file["images"] = np.zeros((4, 3, 36, 64), np.uint8)
    return path


def _lengths_differ(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("actions",))
    with h5py.File(path, "a") as file:
        file["actions"] = np.zeros((3, 3), np.float32)
    return path


def _no_frames(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images", "actions", "action_event_types"))
    with h5py.File(path, "a") as file:
        file["images"] = np.zeros((0, 36, 64, 3), np.uint8)
        file["actions"] = np.zeros((0, 3), np.float32)
        file.create_dataset("action_event_types", (0,), h5py.string_dtype("utf-8"))
    return path


def _float_images(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        file["images"] = np.zeros(SHAPE, np.float32)
    return path


def _references(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("actions",))
    with h5py.File(path, "a") as file:
        file.create_dataset("actions", (4, 3), h5py.ref_dtype)
    return path


def _compound(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("actions",))
    with h5py.File(path, "a") as file:
        file["actions"] = np.zeros((4, 3), [("x", np.float32)])
    return path


def _opaque_events(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("action_event_types",))
    with h5py.File(path, "a") as file:
        file["action_event_types"] = np.zeros(4, np.dtype("V16"))
    return path


def _committed_type(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        file["kind"] = np.dtype(np.float32)
    return path


def _reference_attribute(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        file.attrs["instruction"] = file["images"].ref
    return path


def _large_attribute(raw: Raw, fifo: Path) -> Path:
    path = raw()
    with h5py.File(path, "a") as file:
        file.attrs["instruction"] = np.bytes_(b"x" * 60_000)
    return path


def _frames_never_written(raw: Raw, fifo: Path) -> Path:
    path = raw(without=("images",))
    with h5py.File(path, "a") as file:
        images = file.create_dataset("images", SHAPE, np.uint8, chunks=(1, *SHAPE[1:]), compression="gzip")
        images[:2] = np.random.default_rng(0).integers(0, 256, (2, *SHAPE[1:]), dtype=np.uint8)
    return path


def _inflates_beyond_memory(raw: Raw, fifo: Path) -> Path:
    """A chunk that is no larger than it may be, and inflates to 3 GiB."""
    path = raw(without=("images",))
    packer = zlib.compressobj(9)
    header = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(64 * 2**20)) + packer.flush(
        zlib.Z_FULL_FLUSH
    )  # may follow itself any number of times
    stream = header + block * 48 + packer.flush()
    with h5py.File(path, "a") as file:
        shape = (4, 720, 1280, 3)
        images = file.create_dataset("images", shape, np.uint8, chunks=shape, compression="gzip")
        images.id.write_direct_chunk((0, 0, 0, 0), stream)
    return path


CORPUS: list[tuple[Callable[[Raw, Path], Path], str]] = [
    (_external_link, "external-link"),
    (_external_link_beside, "external-link"),
    (_soft_link, "soft-link"),
    (_external_storage, "external-storage"),
    (_virtual_dataset, "virtual-dataset"),
    (_bomb, "bomb"),
    (_stuffed_chunk, "bomb"),
    (_too_large, "too-large"),
    (_deep_groups, "schema"),
    (_cycle, "schema"),
    (_many_members, "schema"),
    (_group_for_a_dataset, "schema"),
    (_missing_dataset, "schema"),
    (_committed_type, "schema"),
    (_odd_filter, "filter"),
    (_gzip_twice, "filter"),
    (_plug_in_filter, "filter"),
    (_truncated, "unreadable"),
    (_empty, "unreadable"),
    (_no_hdf5, "unreadable"),
    (_damaged_chunk, "unreadable"),
    (_wrong_shape, "wrong-shape"),
    (_lengths_differ, "wrong-shape"),
    (_no_frames, "wrong-shape"),
    (_float_images, "wrong-type"),
    (_references, "wrong-type"),
    (_compound, "wrong-type"),
    (_opaque_events, "wrong-type"),
    (_reference_attribute, "wrong-type"),
    (_large_attribute, "too-large"),
    (_frames_never_written, "incomplete"),
    (_inflates_beyond_memory, "bomb"),
]


def test_evil_files_among_good_ones_are_each_refused_by_their_rule(
    store: FolderStore, *, key: ingest.ReceiptKey, fifo: Path, raw: Raw, record: Raw, upload: Callable[..., str]
) -> None:
    expected: dict[str, str] = {}
    for index, (build, rule) in enumerate(CORPUS):
        name = build.__name__.strip("_")
        path = build(lambda name=name, **options: raw(name, **options), fifo)
        upload(path, name=name)
        path.unlink()
        expected[name] = rule
        if index % 10 == 0:
            upload(record(f"good{index}", seed=index))

    limits = ingest.Limits(wall_s=20)
    candidates = ingest.inspect_inbox(store, limits=limits)

    found = {item.name: item.finding.rule if item.finding else None for item in candidates}
    assert {name: rule for name, rule in found.items() if rule} == expected
    assert [item.summary.frames for item in candidates if item.name.startswith("good") and item.summary] == [4] * 4
    receipts = ingest.settle(store, candidates, key=key)
    assert len(receipts) == len(candidates)
    assert {entry.name: entry.finding.rule for entry in ingest.quarantined(store)} == expected
    assert [record.summary.name for record in ingest.records(store)] != []
    assert list(store.list("inbox")) == []


def test_nan_actions_pass_ingest_and_are_counted(store: FolderStore, raw: Raw, upload: Callable[..., str]) -> None:
    path = raw(without=("actions",))
    with h5py.File(path, "a") as file:
        file["actions"] = np.full((4, 3), np.nan, np.float32)
    upload(path)

    (candidate,) = ingest.inspect_inbox(store)

    assert candidate.summary is not None
    assert candidate.summary.non_finite_actions == 12


def test_attributes_of_a_newer_robot_do_no_harm(store: FolderStore, raw: Raw, upload: Callable[..., str]) -> None:
    path = raw()
    with h5py.File(path, "a") as file:
        file.attrs["battery_volts"] = 14.8
        file.attrs["operator_note"] = "wet floor"
    upload(path)

    (candidate,) = ingest.inspect_inbox(store)

    assert candidate.finding is None
