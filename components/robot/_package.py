"""A package folder is untrusted until every byte of it is what its manifest says."""

import errno
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from components.contracts import PackageManifest
from components.contracts.errors import InvalidDocumentError, PackageError
from components.storage import read_plain

from ._onnx import check_onnx

MANIFEST = "manifest.json"
ENCODE = "encode.onnx"
STEP = "step.onnx"
GOLDEN = "golden.safetensors"
REQUIRED = (ENCODE, STEP, GOLDEN)

MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 2**31
MAX_PACKAGE_BYTES = 2**32
MAX_FILES = 64

FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_STARTS = {".onnx": b"\x08", ".safetensors": b"", ".jpg": b"\xff\xd8\xff", ".json": b"{"}
"""Allowed suffixes and how such files begin: data formats only, none that can carry code."""
_CODE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x7fELF")
"""Pickles, zip archives (torch.save) and programs."""


class VerifiedPackage(NamedTuple):
    """A manifest whose files were all checked, and the name that its bytes give it."""

    manifest: PackageManifest
    sha256: str


def verify_package(folder: Path, *, sha256: str | None = None) -> VerifiedPackage:
    """Check a package folder against its manifest, and the manifest against its name.

    Args:
        folder: holds manifest.json and exactly the files that it lists.
        sha256: of manifest.json, from a signed release; None trusts the manifest that is there (it then only guards
            against damage, not against a forger).

    Raises:
        PackageError: anything missing, added, altered, too large, linked, or of a format that can carry code.
    """
    document = _bounded(folder / MANIFEST, MAX_MANIFEST_BYTES)
    found = hashlib.sha256(document).hexdigest()
    if sha256 is not None and found != sha256:
        raise PackageError(f"{folder / MANIFEST}: expected SHA-256 {sha256}, found {found}; download the package again")
    try:
        manifest = PackageManifest.parse(document, source=str(folder / MANIFEST))
    except InvalidDocumentError as error:
        raise PackageError(str(error)) from None
    _check_listing(folder, manifest)
    for name in manifest.files:
        read_verified(folder, manifest, name)
    return VerifiedPackage(manifest=manifest, sha256=found)


def read_verified(folder: Path, manifest: PackageManifest, name: str) -> bytes:
    """Read one listed file; what is returned is what was checked, so that nothing can change in between.

    Raises:
        PackageError: not listed, not the listed size or SHA-256, not what its suffix says, or a graph that reaches
            outside of itself.
    """
    if name not in manifest.files:
        raise PackageError(f"{folder}: expected {name} in the package, the manifest lists {sorted(manifest.files)}")
    data = _bounded(folder / name, manifest.sizes[name])
    if len(data) != manifest.sizes[name]:
        raise PackageError(f"{folder / name}: expected {manifest.sizes[name]} bytes, found {len(data)}: truncated")
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.files[name]:
        raise PackageError(f"{folder / name}: expected SHA-256 {manifest.files[name]}, found {found}: it was altered")
    if not data.startswith(_STARTS[Path(name).suffix]) or data.startswith(_CODE_STARTS):
        raise PackageError(f"{folder / name}: expected a {Path(name).suffix} file, found {data[:4].hex()}...: refused")
    if name.endswith(".onnx"):
        check_onnx(str(folder / name), data)
    return data


def _check_listing(folder: Path, manifest: PackageManifest) -> None:
    if set(manifest.files) != set(manifest.sizes):
        raise PackageError(f"{folder / MANIFEST}: `files` and `sizes` name other files than each other")
    listed = set(manifest.files)
    wanted = set(REQUIRED) | {name for episode in manifest.golden for name in episode.jpegs}
    if missing := wanted - listed:
        raise PackageError(f"{folder / MANIFEST}: expected it to list {', '.join(sorted(missing))}")
    for name in listed:
        if not FILE_NAME.fullmatch(name) or name == MANIFEST or Path(name).suffix not in _STARTS:
            raise PackageError(
                f"{folder / MANIFEST}: {name!r} is no file that a package may hold ({', '.join(_STARTS)})"
            )
        if not 0 <= manifest.sizes[name] <= MAX_FILE_BYTES:
            raise PackageError(f"{folder / name}: expected at most {MAX_FILE_BYTES} bytes, got {manifest.sizes[name]}")
    if len(listed) > MAX_FILES or sum(manifest.sizes.values()) > MAX_PACKAGE_BYTES:
        raise PackageError(f"{folder}: expected at most {MAX_FILES} files and {MAX_PACKAGE_BYTES} bytes in all")
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    if extra := there - listed:
        raise PackageError(
            f"{folder}: {', '.join(sorted(extra)[:5])} is not in the manifest; remove it or download again"
        )
    if missing := listed - there:
        raise PackageError(f"{folder}: {', '.join(sorted(missing)[:5])} is missing; download the package again")


def _bounded(path: Path, limit: int) -> bytes:
    """A regular file's bytes, at most `limit` + 1 of them."""
    try:
        return read_plain(path, limit)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise PackageError(f"{path}: {error.strerror}") from None
        found = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise PackageError(f"{path}: cannot be read ({found}); expected a plain file of a whole package") from None
