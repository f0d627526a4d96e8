"""Packages in the models bucket: a manifest a package, and every file once, whatever packages share it."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from components.contracts import ObjectRef, PackageManifest, PolicyPackage
from components.contracts.errors import AlreadyExistsError, PackageError
from components.robot import MANIFEST, verify_package
from components.storage import ObjectStore, fetch_file, put_once, refresh_file, sha256_of_file

_BUCKET = "models"


def publish(store: ObjectStore, folder: Path, manifest: PackageManifest) -> tuple[ObjectRef, dict[str, ObjectRef]]:
    """Keep a package folder: files as `blobs/<sha256>`, those that are there are not sent again; the manifest last."""
    refs = {}
    for name, digest in manifest.files.items():
        key, size = f"blobs/{digest}", manifest.sizes[name]
        there = store.stat(_BUCKET, key)
        if there is not None and there.size != size:
            raise PackageError(
                f"s3://{_BUCKET}/{key}: expected {size} bytes, found {there.size}; it is damaged: remove it"
            )
        if there is None:
            with contextlib.suppress(AlreadyExistsError):  # another writer of the same content won
                store.put_file(_BUCKET, key, folder / name, if_absent=True)
        else:
            refresh_file(store, there, folder / name)
        refs[name] = ObjectRef(uri=f"s3://{_BUCKET}/{key}", sha256=digest, size=size)
    document = manifest.canonical_json()
    name = hashlib.sha256(document).hexdigest()
    return put_once(store, _BUCKET, f"packages/{name}/{MANIFEST}", document), refs


def download_package(store: ObjectStore, package: PolicyPackage, folder: Path, *, reuse: Path | None = None) -> Path:
    """Bring a package into `folder`, whole or not at all; every hash is verified.

    Args:
        store: holds the package.
        package: what `package()` returned.
        folder: is made; if it holds this package already, nothing is transferred.
        reuse: another package's folder: files that both share are copied from there.

    Returns:
        `folder`.

    Raises:
        PackageError: `folder` holds something else, or the files are not the manifest's.
        IntegrityError: the store's bytes are not those that `package` names.
        StorageError: the store does not answer or lacks an object.
    """
    if folder.exists() and any(folder.iterdir()):
        verify_package(folder, sha256=package.sha256)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        staging = Path(name) / "package"
        staging.mkdir()
        for file, ref in package.files.items():
            if Path(file).name != file or file == MANIFEST:
                raise PackageError(f"{file!r} is no file name that a package may hold")
            known = reuse / file if reuse else None
            if known and known.is_file() and not known.is_symlink() and sha256_of_file(known) == ref.sha256:
                shutil.copyfile(known, staging / file)
            else:
                fetch_file(store, ref, staging / file)
        fetch_file(store, package.manifest, staging / MANIFEST)
        verify_package(staging, sha256=package.sha256)
        if folder.exists():
            folder.rmdir()
        staging.rename(folder)
    return folder


def serve_package(store: ObjectStore, package: PolicyPackage, home: Path, *, release: str | None = None) -> Path:
    """Make `package` the one that the Bento serves: `<home>/serving/package` is switched in one step.

    A running Bento notices within a second; requests in flight end on the package that they began with.

    Args:
        store: holds the package.
        package: what to serve.
        home: the stack's folder (`Settings.home`).
        release: its name, which the Bento then answers with.

    Returns:
        The package's own folder, `<home>/serving/packages/<sha256>`.

    Raises:
        PackageError, StorageError: as `download_package`; what is served is then unchanged.
    """
    link = home / "serving" / "package"
    folder = download_package(
        store, package, home / "serving" / "packages" / package.sha256, reuse=link if link.exists() else None
    )
    folder.with_name(f"{folder.name}.release").write_text(release or "")
    fresh = link.with_name(f".package-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("packages") / package.sha256)
    fresh.replace(link)
    return folder
