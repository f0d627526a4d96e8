"""The scan before the parse: is this file nothing but an episode?

Works on HDF5's own descriptions (link kinds, creation properties, types, spaces) and opens only what they allow: no
link is followed, no filter runs, no element is read. Broken rules are raised as `RefusedError`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import h5py
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5s, h5t, h5z

from components.contracts.errors import EpisodeError

from ._limits import Limits

DATASETS = ("images", "actions", "action_event_types")


class RefusedError(EpisodeError):
    """A broken rule in the words of a finding."""

    def __init__(self, rule: str, expected: str, observed: str) -> None:
        super().__init__(rule, f"expected {expected}, found {observed}")
        self.expected = expected
        self.observed = observed


_LINKS = {h5l.TYPE_SOFT: "soft-link", h5l.TYPE_EXTERNAL: "external-link"}
_FILTERS = {h5z.FILTER_DEFLATE: "gzip", h5z.FILTER_SHUFFLE: "shuffle", h5z.FILTER_FLETCHER32: "fletcher32"}
_ROOM_FOR_CHUNK = 64 * 1024
"""What storing a chunk may cost beyond its decoded size: deflate's worst case is far below."""


@contextmanager
def scanned(path: Path, limits: Limits) -> Iterator[h5py.File]:
    """The open file, unless it is more, or less, than an episode.

    Raises:
        RefusedError: with the rule `unreadable`, `schema`, `soft-link`, `external-link`, `wrong-type`, `wrong-shape`,
            `virtual-dataset`, `external-storage`, `filter`, `too-large`, `bomb` or `incomplete`.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
        handle = h5f.open(str(path).encode(), h5f.ACC_RDONLY)
    except (OSError, RuntimeError, ValueError) as error:
        _refuse("unreadable", "an HDF5 file", str(error))
    try:
        _scan(h5g.open(handle, b"/"), size, limits)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        handle.close()
        _refuse("unreadable", "readable HDF5 structures", str(error))
    except RefusedError:
        handle.close()
        raise
    with h5py.File(handle) as file:
        yield file


def _scan(root: h5g.GroupID, size: int, limits: Limits) -> None:
    _links(root, limits)
    datasets = {name: _open(root, name, limits) for name in DATASETS}
    _attributes(root, limits)
    declared = sum(_logical_bytes(dataset) for dataset in datasets.values())
    if declared > limits.ratio * size:
        _refuse("bomb", f"at most {limits.ratio:g} times the file's {size} bytes", f"{declared} bytes declared")
    if declared > limits.logical_bytes:
        _refuse("too-large", f"at most {limits.logical_bytes} bytes of data", f"{declared} bytes")
    _shapes(datasets, limits)
    for name, dataset in datasets.items():
        _storage(name, dataset, limits)


def _links(root: h5g.GroupID, limits: Limits) -> None:
    """Exactly the three datasets, by hard links. Groups are not walked into: there is no room for any."""
    count = root.get_num_objs()
    if count > len(DATASETS) + limits.attributes:
        _refuse("schema", f"the datasets {', '.join(DATASETS)}", f"{count} members")
    names = [root.get_objname_by_idx(index) for index in range(count)]
    for name in names:
        kind = root.links.get_info(name).type
        if kind != h5l.TYPE_HARD:
            _refuse(_LINKS.get(kind, "external-link"), "hard links only", f"{_shown(name)} is none")
    found = {_shown(name) for name in names}
    if found != set(DATASETS):
        _refuse("schema", f"the datasets {', '.join(DATASETS)}", ", ".join(sorted(found)) or "an empty file")


def _open(root: h5g.GroupID, name: str, limits: Limits) -> h5d.DatasetID:
    if h5o.get_info(root, name.encode()).type != h5o.TYPE_DATASET:
        _refuse("schema", f"{name} to be a dataset", "a group or a named type")
    dataset = h5d.open(root, name.encode())
    properties = dataset.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL:
        _refuse("virtual-dataset", f"{name} stored in this file", "a virtual dataset, made of other files")
    if properties.get_external_count():
        _refuse("external-storage", f"{name} stored in this file", "storage in other files")
    _filters(name, properties)
    _attributes(dataset, limits)
    return dataset


def _filters(name: str, properties: h5p.PropDCID) -> None:
    codes = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if any(code not in _FILTERS for code in codes):
        shown = ", ".join(_FILTERS.get(code, f"filter {code}") for code in codes)
        _refuse("filter", f"{name} with {', '.join(_FILTERS.values())} at most", shown)
    if len(set(codes)) != len(codes):
        _refuse("filter", f"{name} with each filter once", f"{len(codes)} filters, one repeated")


def _attributes(owner: h5g.GroupID | h5d.DatasetID, limits: Limits) -> None:
    """Few, small, scalar, plain. A name that readers do not know is harmless: they never look at it."""
    count = h5a.get_num_attrs(owner)
    if count > limits.attributes:
        _refuse("schema", f"at most {limits.attributes} attributes", f"{count}")
    for index in range(count):
        attribute = h5a.open(owner, index=index)
        name, kind = _shown(attribute.name), attribute.get_type()
        if kind.get_class() not in {h5t.INTEGER, h5t.FLOAT, h5t.STRING, h5t.ENUM} or kind.committed():
            _refuse("wrong-type", f"attribute {name} to be a number or text", "another type")
        if attribute.get_space().get_simple_extent_type() == h5s.NULL:  # it holds nothing, and has no size to ask for
            continue
        elements = attribute.get_space().get_simple_extent_npoints()
        if attribute.get_storage_size() > limits.attribute_bytes or elements > limits.attribute_bytes:
            expected = f"attribute {name} of at most {limits.attribute_bytes} bytes"
            _refuse("too-large", expected, f"{attribute.get_storage_size()} bytes")


def _logical_bytes(dataset: h5d.DatasetID) -> int:
    return int(dataset.get_space().get_simple_extent_npoints()) * int(dataset.get_type().get_size())


def _shapes(datasets: dict[str, h5d.DatasetID], limits: Limits) -> None:
    images, actions, events = (datasets[name] for name in DATASETS)
    kinds = {name: dataset.get_type() for name, dataset in datasets.items()}
    if any(kind.committed() for kind in kinds.values()):
        _refuse("wrong-type", "types of the file's own datasets", "a committed type")
    kind = kinds["images"]
    if kind.get_class() != h5t.INTEGER or kind.get_size() != 1 or kind.get_sign() != h5t.SGN_NONE:
        _refuse("wrong-type", "images of uint8", _type(kind))
    if kinds["actions"].get_class() != h5t.FLOAT or kinds["actions"].get_size() not in {4, 8}:
        _refuse("wrong-type", "actions of float32", _type(kinds["actions"]))
    kind = kinds["action_event_types"]
    if kind.get_class() != h5t.STRING or not (kind.is_variable_str() or kind.get_size() <= limits.text_bytes):
        _refuse("wrong-type", f"action_event_types of text of at most {limits.text_bytes} bytes", _type(kind))
    if not _is_frames(images.shape, limits):
        expected = f"images of (T, H, W, 3), T at most {limits.frames}, sides at most {limits.side}"
        _refuse("wrong-shape", expected, f"{images.shape}")
    if math.prod(images.shape[1:]) > limits.chunk_bytes:
        _refuse("too-large", f"frames of at most {limits.chunk_bytes} bytes", f"{math.prod(images.shape[1:])} bytes")
    if actions.shape != (images.shape[0], 3):
        _refuse("wrong-shape", f"actions of ({images.shape[0]}, 3), one for each image", f"{actions.shape}")
    if events.shape != (images.shape[0],):
        _refuse("wrong-shape", f"action_event_types of ({images.shape[0]},), one for each image", f"{events.shape}")


def _is_frames(shape: tuple[int, ...], limits: Limits) -> bool:
    if len(shape) != 4 or shape[3] != 3:
        return False
    return 1 <= shape[0] <= limits.frames and all(1 <= side <= limits.side for side in shape[1:3])


def _storage(name: str, dataset: h5d.DatasetID, limits: Limits) -> None:
    """Every element is really there, and no chunk holds more than its share."""
    properties = dataset.get_create_plist()
    if properties.get_layout() != h5d.CHUNKED:
        if dataset.get_storage_size() < _logical_bytes(dataset):
            _refuse("incomplete", f"{name} with all its data", f"{dataset.get_storage_size()} bytes stored")
        return
    chunk, item = properties.get_chunk(), dataset.get_type().get_size()
    chunk_bytes = item * math.prod(chunk)
    if chunk_bytes > limits.chunk_bytes:
        _refuse("too-large", f"{name} in chunks of at most {limits.chunk_bytes} bytes", f"{chunk_bytes} bytes")
    expected = 1
    for length, side in zip(dataset.shape, chunk, strict=True):
        expected *= -(-length // side)
    found = dataset.get_num_chunks()
    if found != expected:
        _refuse("incomplete", f"{name} with all its {expected} chunks", f"{found}")
    sizes: list[int] = []
    dataset.chunk_iter(lambda stored: sizes.append(stored.size))
    if max(sizes, default=0) > chunk_bytes + chunk_bytes // 64 + _ROOM_FOR_CHUNK:
        _refuse("bomb", f"{name} in chunks that decode to {chunk_bytes} bytes", f"{max(sizes)} bytes stored in one")


def _type(kind: h5t.TypeID) -> str:
    try:
        return str(kind.dtype)
    except (TypeError, ValueError):
        return "a type that has no name here"


def _shown(name: bytes) -> str:
    return name[:64].decode("utf-8", "replace")


def _refuse(rule: str, expected: str, observed: str) -> NoReturn:
    raise RefusedError(rule, expected, observed)
