"""An episode is an episode in whatever kind of HDF5 text it is written, read by the real confined process."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from components.ingest import Limits, _worker
from components.ingest._process import BARE_ROOM, ParsingProcess
from components.ingest._rehearsal import REHEARSED, rehearsal_files

FRAMES, SIDE = 4, 36
EVENTS = ["episode_start", *["start_action"] * (FRAMES - 1)]
NAME = "episode_20250815_103000_1box_vert_left_core_medium"
TEXTS = {"episode_name": NAME, "robot": "r1", "instruction": "go left", "collection_session": "monday"}
KINDS = (
    "variable-utf8", "variable-ascii", "fixed-utf8", "fixed-ascii", "null-terminated", "null-padded", "space-padded",
    "numpy-S", "numpy-O",
)  # fmt: skip


def _low_level(kind: str) -> h5py.h5t.TypeID:
    text = h5py.h5t.C_S1.copy()
    text.set_size(64)
    pads = {"null-terminated": h5py.h5t.STR_NULLTERM, "null-padded": h5py.h5t.STR_NULLPAD}
    text.set_strpad(pads.get(kind, h5py.h5t.STR_SPACEPAD))
    return text


def _dtype(kind: str) -> Any:
    if kind == "numpy-O":
        return h5py.string_dtype()
    if kind == "numpy-S":
        return "S64"
    length = 64 if kind.startswith("fixed") else None
    return h5py.string_dtype("utf-8" if kind.endswith("utf8") else "ascii", length)


def _is_low_level(kind: str) -> bool:
    return kind in {"null-terminated", "null-padded", "space-padded"}


def _padded(kind: str, text: str) -> np.ndarray[Any, Any]:
    return np.array(text.encode().ljust(64, b" " if kind == "space-padded" else b"\0"), "S64")


def write(path: Path, kind: str, events: list[bytes] | None = None, **texts: str) -> Path:
    """An episode all of whose texts are of one kind."""
    values = events or [event.encode() for event in EVENTS]
    generator = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        images = generator.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
        file.create_dataset("images", data=images, compression="gzip", chunks=(1, SIDE, SIDE, 3))
        file.create_dataset("actions", data=np.zeros((FRAMES, 3), np.float32), compression="gzip")
        if _is_low_level(kind):
            kind_id, space = _low_level(kind), h5py.h5s.create_simple((FRAMES,))
            dataset = h5py.h5d.create(file.id, b"action_event_types", kind_id, space)
            stored = np.array([_padded(kind, value.decode()) for value in values])
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, stored, kind_id)
            for name, text in (TEXTS | texts).items():
                attribute = h5py.h5a.create(file.id, name.encode(), kind_id, h5py.h5s.create(h5py.h5s.SCALAR))
                attribute.write(_padded(kind, text), kind_id)
        else:
            file.create_dataset("action_event_types", data=np.array(values, dtype=_dtype(kind)), dtype=_dtype(kind))
            for name, text in (TEXTS | texts).items():
                file.attrs.create(name, text.encode(), dtype=_dtype(kind))
    return path


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[[Path], dict[str, Any]]]:
    """Have the confined process read a file; it must not want to import anything."""
    process = ParsingProcess(Limits())

    def asked(path: Path) -> dict[str, Any]:
        sha256 = hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()
        answer = process.ask({"path": str(path), "sha256": sha256, "robot": "r1", "name": path.stem})
        assert answer.pop("imports", []) == []
        return answer

    yield asked
    process.close()


@pytest.mark.parametrize("kind", KINDS)
def test_episode_with_any_kind_of_text_is_read(
    kind: str, tmp_path: Path, ask: Callable[[Path], dict[str, Any]]
) -> None:
    answer = ask(write(tmp_path / f"{NAME}.h5", kind))

    assert "summary" in answer, answer
    summary = answer["summary"]
    assert (summary["session"], summary["instruction"], summary["scenario"]) == ("monday", "go left", "1box_vert_left")
    assert summary["frame_zero_is_start"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"variable-ascii", "fixed-ascii"}])
def test_text_beyond_ascii_is_read(kind: str, tmp_path: Path, ask: Callable[[Path], dict[str, Any]]) -> None:
    answer = ask(write(tmp_path / f"{NAME}.h5", kind, instruction="fahr nach links, würde ich sagen"))
    assert answer["summary"]["instruction"] == "fahr nach links, würde ich sagen"


@pytest.mark.parametrize("kind", KINDS)
def test_empty_texts_are_read_as_none(kind: str, tmp_path: Path, ask: Callable[[Path], dict[str, Any]]) -> None:
    answer = ask(write(tmp_path / f"{NAME}.h5", kind, [b""] * FRAMES, instruction="", robot=""))
    assert "summary" in answer, answer
    assert not answer["summary"]["frame_zero_is_start"]


@pytest.mark.parametrize("kind", ["fixed-utf8", "fixed-ascii", "numpy-S", "variable-utf8"])
def test_events_that_are_no_utf8_are_refused_in_words(
    kind: str, tmp_path: Path, ask: Callable[[Path], dict[str, Any]]
) -> None:
    answer = ask(write(tmp_path / f"{NAME}.h5", kind, [b"\xff\xfe\x80"] * FRAMES))
    assert answer["rule"] == "unreadable"
    assert "utf-8" in answer["observed"]


def _odd_files(folder: Path) -> Iterator[Path]:
    """Error paths of the parser."""
    for name, content in {"empty": b"", "text": b"no HDF5", "cut": b"\x89HDF\r\n\x1a\n" + b"\0" * 100}.items():
        (folder / f"{name}.h5").write_bytes(content)
        yield folder / f"{name}.h5"
    yield folder / "missing.h5"
    for number, change in enumerate((_no_images, _odd_attributes, _array_attributes, _damaged_chunk, _wide)):
        path = write(folder / f"odd-{number}.h5", "variable-utf8")
        with h5py.File(path, "a") as file:
            change(file)
        yield path
    whole = write(folder / "whole.h5", "fixed-ascii").read_bytes()
    for position in range(0, len(whole), 211):
        (folder / "flipped.h5").write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        yield folder / "flipped.h5"


def _no_images(file: h5py.File) -> None:
    del file["images"]


def _odd_attributes(file: h5py.File) -> None:
    file.attrs["num_frames"], file.attrs["total_duration"] = np.uint64(2**64 - 1), np.float64("nan")
    file.attrs["collection_datetime"] = "2025-13-45T99:00"
    file.attrs["source"] = np.array("x", dtype=h5py.string_dtype("ascii", 1))


def _array_attributes(file: h5py.File) -> None:
    file.attrs["instruction"] = np.array([b"a", b"b"], "S1")
    file.attrs["position"] = h5py.Empty("S10")
    file.attrs["robot"] = np.array([1, 2])


def _damaged_chunk(file: h5py.File) -> None:
    file["images"].id.write_direct_chunk((0, 0, 0, 0), b"no zlib")


def _wide(file: h5py.File) -> None:
    del file["actions"]
    file.create_dataset("actions", data=np.full((FRAMES, 3), np.inf, np.float64), fletcher32=True, shuffle=True)


def test_nothing_is_imported_once_the_process_is_confined(
    tmp_path: Path, ask: Callable[[Path], dict[str, Any]]
) -> None:
    judged = [ask(path) for path in _odd_files(tmp_path)]
    assert {"unreadable", "schema"} <= {answer.get("rule") for answer in judged}


def test_rehearsal_before_the_confinement_goes_all_the_way_to_a_summary() -> None:
    with rehearsal_files() as files:
        rules = {}
        for path in files:
            job = {"path": str(path), "sha256": "0" * 64, "robot": "rehearsal", "name": REHEARSED}
            answer = _worker._judge(job, Limits())
            rules[path.stem] = answer.get("rule", "summary")
    assert rules.pop("none") == rules.pop("not-utf8") == "unreadable"
    assert set(rules.values()) == {"summary"}


def test_module_that_is_wanted_after_all_is_named(tmp_path: Path) -> None:
    script = BARE_ROOM + (
        "import components.ingest._worker as worker\n"
        "worker._judge = lambda job, limits: worker.codecs.lookup('cp1252') and {}\n"
        "ask = worker._judge\n"
        "def judge(job, limits):\n"
        "    try: return ask(job, limits)\n"
        "    except LookupError: return {'rule': 'unreadable'}\n"
        "worker._judge = judge\n"
        "worker.rehearse = lambda limits: None\n"
        "worker.main()\n"
    )
    process = ParsingProcess(Limits(), command=[sys.executable, "-I", "-c", script])
    try:
        answer = process.ask({"path": "/nowhere", "sha256": "0" * 64, "robot": "r1", "name": "e"})
        assert answer == {"rule": "unreadable", "imports": ["encodings.cp1252"]}
    finally:
        process.close()
