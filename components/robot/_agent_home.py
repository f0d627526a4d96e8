"""The folder of a robot's agent: what has to be there before the agent runs, and what to do where it is not."""

import os
import pwd
from pathlib import Path

from ._identity import KEY_FILE

ROOT_FILE = "root.json"
"""In a robot's home: the root of trust that it was shipped with."""
JOURNAL_FILE = "journal.db"
_READ, _WRITE = os.R_OK, os.R_OK | os.W_OK
_NEEDS = {".": _WRITE | os.X_OK, KEY_FILE: _READ, ROOT_FILE: _READ, JOURNAL_FILE: _WRITE}
"""The access that an agent needs to what lies in its folder."""


def agent_home_fault(robot: str, home: Path) -> str | None:
    """Why the agent cannot run on this folder, and what to do; None: it can.

    Args:
        robot: its id.
        home: its folder, `<DROVER_HOME>/robots/<robot>/agent`.
    """
    anew = (
        f"`drover robot enrol {robot} --hardware ID --replace` on the platform's machine makes a new key there, "
        "and the old one counts no more"
    )
    try:
        if not home.is_dir():
            return (
                f"expected the agent's folder of {robot} at {home}, found none on this machine. If it was enrolled on "
                "another machine, by another user or with another DROVER_HOME, run the agent there with those; "
                f"to run it here, enrol it here: {anew}"
            )
        missing = [name for name in (KEY_FILE, ROOT_FILE) if not (home / name).is_file()]
        closed = [path for path, needs in _NEEDS.items() if not _is_open(home / path, needs)]
    except PermissionError:
        missing, closed = [], ["."]
    if closed:
        return (
            f"{home / closed[0]} belongs to {_owner(home / closed[0])} and is closed to {_user(os.geteuid())}: "
            f"run the agent of {robot} as the user that enrolled it"
        )
    if KEY_FILE in missing:
        return (
            f"expected the key of {robot} at {home / KEY_FILE}, found none; reports that another key signs count for "
            f"nothing. Bring the file back from where the robot was enrolled, or: {anew}"
        )
    if missing:
        return (
            f"expected the root of trust at {home / ROOT_FILE}, found none: {robot} has a key here and can upload, but "
            f"cannot verify releases. On the platform's machine `drover robot enrol {robot} --hardware ID` writes it; "
            "on another machine copy `keys/root.json` of the platform's home there, over a way that you trust"
        )
    return None


def _is_open(path: Path, needs: int) -> bool:
    return not path.exists() or os.access(path, needs)


def _owner(path: Path) -> str:
    """The user that owns a path, or the folder above it that can be looked at."""
    for found in (path, *path.parents):
        try:
            return _user(found.stat().st_uid)
        except OSError:
            continue
    return "another user"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
