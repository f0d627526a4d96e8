"""Episodes gone wrong on purpose: case n of a seed is always the same file.

Mutations know HDF5: they change links, layouts, filters, types, spaces, attributes and chunks through the library, and
then bytes: of the structures themselves (found by their signatures), or anywhere.
"""

import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FRAMES, HEIGHT, WIDTH = 3, 8, 12
SHAPE = (FRAMES, HEIGHT, WIDTH, 3)
_COUNTER = count()
NAMES = ("images", "actions", "action_event_types")
_SIGNATURES = (
    b"\x89HDF", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF",
    b"BTIN", b"FSHD", b"FSSE", b"FADB", b"FAHD", b"EAHD", b"EADB",
)  # fmt: skip
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_TYPES: tuple[Any, ...] = (
    "u1", "i1", "<i2", ">u4", "<i8", "<f2", "<f4", ">f4", "<f8", "S1", "S16", "S4096", "V16", "?", "c8",
    [("x", "f4")], [("x", "f4"), ("y", "S8")], ("f4", (3,)), h5py.ref_dtype, h5py.regionref_dtype,
    h5py.string_dtype("utf-8"), h5py.string_dtype("ascii", 20), h5py.vlen_dtype("u1"), h5py.vlen_dtype("f8"),
    h5py.enum_dtype({"a": 1, "b": 2}, "u1"),
)  # fmt: skip
_SPACES: tuple[tuple[int, ...], ...] = (
    (), (0,), (1,), (3,), (4,), (3, 3), (3, 4), (0, 3), SHAPE, (3, 3, 8, 12), (3, 8, 12, 4), (2, *SHAPE[1:]), (1,) * 5,
    (2**20, 2**20, 2**20, 3), (2**62, 3), (10**6, 8, 12, 3), (1,) * 32, (3, 2**13, 2**13, 3),
)  # fmt: skip


def case(seed: int, number: int, secret: Path) -> bytes:
    """The file. `secret` is one of somebody else's that it may try to have read."""
    dice = random.Random(f"{seed}/{number}")
    data = _base(dice.randrange(24)) if dice.random() < 0.45 else _structured(dice, secret)
    if dice.random() < 0.6:
        data = _bytes(dice, bytearray(data))
    return data


@cache
def _base(number: int) -> bytes:
    return _written(random.Random(f"base {number}"), lambda file, dice: None)


def _structured(dice: random.Random, secret: Path) -> bytes:
    def change(file: h5py.File, dice: random.Random) -> None:
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            with suppress(Exception):  # what the library itself refuses to write
                dice.choice(_MUTATIONS)(file, dice, secret)

    return _written(dice, change)


def _written(dice: random.Random, change: Callable[[h5py.File, random.Random], None]) -> bytes:
    access, creation = h5py.h5p.create(h5py.h5p.FILE_ACCESS), h5py.h5p.create(h5py.h5p.FILE_CREATE)
    access.set_fapl_core(backing_store=False)
    newest = h5py.h5f.LIBVER_LATEST
    access.set_libver_bounds(*dice.choice(((h5py.h5f.LIBVER_EARLIEST, newest),) * 3 + ((newest, newest),)))
    creation.set_obj_track_times(False)
    if dice.random() < 0.1:
        creation.set_userblock(dice.choice((512, 4096)))
    created = h5py.h5f.create(f"case-{next(_COUNTER)}.h5".encode(), fcpl=creation, fapl=access)
    with h5py.File(created) as file:
        noise = np.random.default_rng(dice.randrange(2**32))
        file.create_dataset("images", data=noise.integers(0, 256, SHAPE, dtype=np.uint8), **_storage(dice, SHAPE))
        file.create_dataset("actions", data=np.zeros((FRAMES, 3), np.float32), **_storage(dice, (FRAMES, 3)))
        events = ["episode_start", *["start_action"] * (FRAMES - 1)]
        file.create_dataset("action_event_types", data=events, dtype=h5py.string_dtype("utf-8"))
        file.attrs.update({"episode_name": "fuzz", "num_frames": FRAMES, "total_duration": 4.5, "colour_order": "bgr"})
        change(file, dice)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _storage(dice: random.Random, shape: tuple[int, ...]) -> dict[str, Any]:
    if dice.random() < 0.15:
        return {}
    chunk = (1, *shape[1:]) if dice.random() < 0.6 else tuple(dice.randint(1, side) for side in shape)
    found: dict[str, Any] = {"chunks": chunk}
    if dice.random() < 0.8:
        found |= {"compression": "gzip", "compression_opts": dice.randint(0, 9)}
    found |= {"shuffle": dice.random() < 0.2, "fletcher32": dice.random() < 0.2}
    return found


def _replace(file: h5py.File, dice: random.Random) -> str:
    name = dice.choice(NAMES)
    del file[name]
    return name


def _link(file: h5py.File, dice: random.Random, secret: Path) -> None:
    name = _replace(file, dice) if dice.random() < 0.7 else "more"
    file[name] = dice.choice(
        (
            h5py.SoftLink("/images"), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/nowhere"), file["/"],
            h5py.ExternalLink(str(secret), "/images"), h5py.ExternalLink(str(secret), "/"),
            h5py.ExternalLink("case.h5", "/images"),
        )
    )  # fmt: skip


def _groups(file: h5py.File, dice: random.Random, secret: Path) -> None:
    group = file.create_group(_replace(file, dice) if dice.random() < 0.5 else "g")
    for index in range(dice.choice((1, 5, 60))):
        inner = group.create_group(f"g{index}" * dice.choice((1, 30)))
        group = inner if dice.random() < 0.5 else group
    group["up"] = file["/"]


def _elsewhere(file: h5py.File, dice: random.Random, secret: Path) -> None:
    name = _replace(file, dice)
    shape = SHAPE if name == "images" else (FRAMES, 3)
    if dice.random() < 0.5:
        pieces = [(str(secret), dice.choice((0, 8, 2048)), dice.choice((16, 864, h5py.h5f.UNLIMITED)))]
        file.create_dataset(name, shape, "u1" if name == "images" else "f4", external=pieces)
        return
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource(dice.choice((str(secret), ".")), "images", shape=shape)
    file.create_virtual_dataset(name, layout)


def _odd_dataset(file: h5py.File, dice: random.Random, secret: Path) -> None:
    name = _replace(file, dice)
    kind = dice.choice(_TYPES) if dice.random() < 0.7 else {"images": "u1", "actions": "f4"}.get(name, "S8")
    shape = dice.choice(_SPACES) if dice.random() < 0.6 else {"images": SHAPE, "actions": (3, 3)}.get(name, (3,))
    if dice.random() < 0.1:
        file[name] = h5py.Empty(kind)
        return
    options = _storage(dice, shape) if shape and 0 not in shape else {}
    if options and dice.random() < 0.3:
        options["maxshape"] = (None,) * len(shape)
    if dice.random() < 0.3:
        options["fillvalue"] = dice.randrange(200)
    file.create_dataset(name, shape, kind, **options)


def _filters(file: h5py.File, dice: random.Random, secret: Path) -> None:
    name = _replace(file, dice)
    shape, kind = (SHAPE, h5py.h5t.STD_U8LE) if name == "images" else ((FRAMES, 3), h5py.h5t.IEEE_F32LE)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, *shape[1:]))
    for _ in range(dice.randint(1, 4)):
        choice = dice.randrange(6)
        if choice == 0:
            properties.set_deflate(dice.randint(0, 9))
        elif choice == 1:
            properties.set_shuffle()
        elif choice == 2:
            properties.set_fletcher32()
        elif choice == 3:
            properties.set_scaleoffset(h5py.h5z.SO_INT, dice.randint(0, 8))
        else:
            code = dice.choice((4, 5, 6, 32000, 32001, 32004, 32008, 32015, 255, 65535))
            properties.set_filter(code, dice.choice((0, 1)), tuple(dice.choice(_NUMBERS[:12]) for _ in range(3)))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), properties)


def _chunks(file: h5py.File, dice: random.Random, secret: Path) -> None:
    """Chunks that are not what they declare."""
    dataset = file[dice.choice(("images", "images", "actions"))]
    if dataset.chunks is None:
        return
    size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    packed = zlib.compress(random.Random(size).randbytes(size))
    data = dice.choice(
        (
            b"", b"\x78\x9c", packed[:-1], packed[:-4], packed[: len(packed) // 2], packed + packed, b"\0" * 40,
            dice.randbytes(size), zlib.compress(bytes(size - 1)), zlib.compress(bytes(size + 1)),
            zlib.compress(bytes(20_000_000), 1), packed + b"x" * 70_000,
        )
    )  # fmt: skip
    start = tuple(dice.randrange(0, side, step) for side, step in zip(dataset.shape, dataset.chunks, strict=True))
    dataset.id.write_direct_chunk(start, data, dice.choice((0, 0, 0, 1, 3, 2**31)))


def _attributes(file: h5py.File, dice: random.Random, secret: Path) -> None:
    owner = file if dice.random() < 0.7 else file[dice.choice(NAMES)]
    name = dice.choice(("episode_name", "robot", "num_frames", "collection_datetime", "colour_order", "x", "\u202e"))
    values: tuple[Any, ...] = (
        "", "x" * 600, "x" * 60_000, "../../../etc/passwd", "\x00\x01", -1, 2**63, np.nan, np.inf, h5py.Empty("f4"),
        np.zeros(3), np.zeros((1000,)), [b"a", b"bb"], file["images"].ref, file["images"].regionref[0], b"\xff\xfe",
        np.void(b"x" * 99), np.array([1], dtype=[("a", "u1")]), "r2", "2025-08-15", True,
    )  # fmt: skip
    owner.attrs[name] = dice.choice(values)
    if dice.random() < 0.1:
        for index in range(100):
            owner.attrs[f"many{index}"] = index


def _texts(file: h5py.File, dice: random.Random, secret: Path) -> None:
    del file["action_event_types"]
    words = dice.choice(
        (["x" * 300] * 3, ["x" * 1_000_000] * 3, [b"\xff"] * 3, [""] * 3, ["\x00"] * 3, ["é" * 100] * 3)
    )
    file.create_dataset("action_event_types", data=words, dtype=h5py.string_dtype(dice.choice(("utf-8", "ascii"))))


def _committed(file: h5py.File, dice: random.Random, secret: Path) -> None:
    if file.libver[0] != "earliest":
        return  # newer formats keep the time in it: no case would be the same twice
    file["kind"] = np.dtype("f4")
    name = _replace(file, dice)
    file.create_dataset(name, (FRAMES, 3), file["kind"])
    if dice.random() < 0.5:
        del file["kind"]


_MUTATIONS = (
    _link, _groups, _elsewhere, _odd_dataset, _odd_dataset, _filters, _chunks, _chunks, _attributes, _texts, _committed,
)  # fmt: skip


def _bytes(dice: random.Random, data: bytearray) -> bytes:
    found = [at for mark in _SIGNATURES if (at := data.find(mark)) >= 0]
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data))
        if found and dice.random() < 0.6:
            at = min(len(data) - 1, dice.choice(found) + int(dice.expovariate(1 / 40)))
        choice = dice.randrange(10)
        if choice < 3:
            data[at] ^= 1 << dice.randrange(8)
        elif choice < 5:
            data[at] = dice.randrange(256)
        elif choice < 8:
            width = dice.choice((1, 2, 4, 8))
            number = dice.choice(_NUMBERS) if dice.random() < 0.7 else dice.randrange(len(data))
            data[at : at + width] = (number % 256**width).to_bytes(width, "little")
        elif choice == 8:
            other, size = dice.randrange(len(data)), dice.randint(1, 64)
            data[at : at + size] = data[other : other + size]
        else:
            del data[max(64, at) :]
            if not data:
                break
    return bytes(data)
