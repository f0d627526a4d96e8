"""Files that a user has already, sent as any robot's episodes are."""

from pathlib import Path

from components.contracts.errors import ConfigurationError, EpisodeError, SpoolFullError
from components.episodes.formats import files_in
from components.storage import sha256_of_file

from ._uploader import Uploader, UploadReport


def upload_folder(folder: Path, uploader: Uploader) -> UploadReport:
    """Send the episode files (`*.h5`) of a folder of the user's. Each is copied into the spool first; the originals are
    never touched. Files whose receipts this robot has kept are not sent again.

    Raises:
        ConfigurationError: no such folder, or no `.h5` file in it.
        SpoolFullError: not even the first file fits the spool.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder}: expected a folder of episode files, found {'a file' if folder.exists() else 'nothing'}"
        )
    files = files_in(folder, ".h5")
    if not files:
        raise ConfigurationError(
            f"{folder}: expected episode files (*.h5), found none; name the folder that holds them"
        )
    refused: dict[str, str] = {}
    confirmed: list[str] = []
    for position, path in enumerate(files):
        if uploader.known_receipt(sha256_of_file(path), path.stat().st_size):
            confirmed.append(path.stem)
            continue
        try:
            uploader.spool.add(path)
        except SpoolFullError as error:
            if position == 0:
                raise
            refused |= {later.stem: str(error) for later in files[position:]}
            break
        except (EpisodeError, OSError) as error:
            refused[path.stem] = str(error)
    report = uploader.sync()
    report.confirmed = list(dict.fromkeys(confirmed + report.confirmed))
    report.failed = refused | report.failed
    return report
