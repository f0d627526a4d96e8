"""The folder of verified release metadata: kept free of what python-tuf would hang on, and asked without a network."""

import contextlib
import io
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tuf.api import exceptions
from tuf.ngclient import FetcherInterface, Updater

from components.contracts import Release, Sha256
from components.storage import read_plain, remove_any

log = logging.getLogger(__name__)

MAX_METADATA_BYTES = 8_000_000
_ROOT_LINK = re.compile(r"root_history/[0-9]{1,9}\.root\.json")
_MAX_ENTRIES = 2000


class LocalFetcher(FetcherInterface):
    """Serves the timestamp that is there already, and nothing else: what the client then says, it verified before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError  # unused: download_file knows the length, which this call does not

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        if not url.endswith("/timestamp.json"):
            raise exceptions.DownloadHTTPError(f"{url} is not on this robot", 404)
        yield io.BytesIO(read_plain(self._folder / "timestamp.json", max_length))


def why_not_signed(updater: Updater, release: Release, files: Mapping[str, Sha256]) -> str | None:
    """Why the metadata of a client over `LocalFetcher` does not name this very release with these very files.

    Its signatures and versions are checked as ever, its expiry is not (the caller sets the client's time back): what
    was signed then was signed. What a later root or a publisher withdrew since the last contact is not known here.
    """
    prefix, document = f"releases/{release.name}/", release.canonical_json()
    expected = dict(files)
    if expected.get("manifest.json") != release.package:
        return f"{release.name}: its record lists another manifest than its package's"
    try:
        updater.refresh()
        target = updater.get_targetinfo(f"{prefix}release.json")
        if target is None:
            return f"no release {release.name} is signed in the metadata on this robot"
        target.verify_length_and_hashes(document)
        for name, sha256 in expected.items():
            found = updater.get_targetinfo(f"{prefix}{name}")
            if found is None or found.hashes.get("sha256") != sha256:
                return f"{release.name}: {name[:80]!r} is not signed with the bytes of its record"
    except Exception as error:  # noqa: BLE001  # whatever the folder holds: then it vouches for nothing
        return f"{release.name}: the metadata on this robot cannot tell ({type(error).__name__}: {error})"
    return None


def tidy(folder: Path, damaged: Callable[[str], None]) -> None:
    """Remove whatever is no plain file of a bounded size from a metadata folder: the client fetches it again.

    Args:
        folder: made if it is missing; a link or file in its place is removed.
        damaged: told each thing that was removed.
    """
    for place in (folder, folder / "root_history"):
        if os.path.lexists(place) and not stat.S_ISDIR(place.lstat().st_mode):
            _remove(place, damaged)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (folder, folder / "root_history"):
        with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
            for number, entry in enumerate(entries):
                if number >= _MAX_ENTRIES or not _belongs(Path(entry.path), folder):
                    _remove(Path(entry.path), damaged)


def _belongs(path: Path, folder: Path) -> bool:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        return path == folder / "root.json" and _ROOT_LINK.fullmatch(str(path.readlink())) is not None
    if stat.S_ISDIR(facts.st_mode):
        return path == folder / "root_history"
    return stat.S_ISREG(facts.st_mode) and facts.st_size <= MAX_METADATA_BYTES


def _remove(path: Path, damaged: Callable[[str], None]) -> None:
    damaged(f"{path}: expected a plain file of release metadata, found something else; it is removed")
    remove_any(path)
