"""Who takes part in the storm, each a process that may be killed at any moment: robots, and the platform's ingest.

`python -m tests.storm.actors robot HOME ROBOT EPISODES SEED`, `python -m tests.storm.actors ingest`.
"""

import hashlib
import logging
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from components.contracts import Settings
from components.contracts.errors import DroverError, GatewayError, StorageError
from components.episodes import KEYS, EpisodeAttributes
from components.ingest import inspect_inbox, receipt_key, settle
from components.robot import Recorder, Spool, Uploader, open_gateway
from components.storage import connect

FRAMES, HEIGHT, WIDTH = 3, 18, 32
BATCH = 5
"""Episodes that a robot records between two uploads."""
_LOG = logging.getLogger("storm")


def episode_name(index: int) -> str:
    """The `index`-th of a robot's planned episodes."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=index)
    return f"episode_{moment:%Y%m%d_%H%M%S}_1box_vert_left_core_close"


def robot(home: Path, name: str, episodes: int, seed: int) -> None:
    """Record what is missing, upload what waits, until a receipt has come for everything.

    `recorded.txt` is the robot's promise: a name is in it only after the recorder said that the episode is finished.
    Started again after a kill, it goes on; an episode that the kill cut short counts as recorded, with fewer frames.
    """
    spool = Spool(home / name)
    ledger = home / name / "recorded.txt"
    parent = os.getppid()
    while os.getppid() == parent:
        spool.recover()
        done = _promised(ledger)
        for path in spool.pending():
            if path.stem not in done:  # killed between the last frame and the promise, or recovered now
                _promise(ledger, path.stem)
                done.add(path.stem)
        missing = [index for index in range(episodes) if episode_name(index) not in done]
        for index in missing[:BATCH]:
            _record(spool, name, index, seed)
            _promise(ledger, episode_name(index))
        try:
            report = Uploader(spool, open_gateway(home / name / "agent")).sync()
        except (DroverError, OSError) as error:
            _LOG.info("%s: %s", name, error)
            continue
        if not missing and not spool.pending():
            return
        if not missing and not report.sent and not report.confirmed:
            time.sleep(0.2)  # everything is sent; asking for receipts without a pause would only keep ingest from them


def _record(spool: Spool, name: str, index: int, seed: int) -> None:
    entropy = hashlib.sha256(f"{seed} {name} {index}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(entropy[:8], "little"))
    recorder = Recorder(spool, name)
    recorder.start(EpisodeAttributes(name=episode_name(index), robot=name), height=HEIGHT, width=WIDTH)
    for step in range(FRAMES):
        image = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        recorder.append(
            image, KEYS["W"] if step else KEYS["space"], "start_action" if step else "episode_start", elapsed_s=step
        )
    recorder.finish()


def _promise(ledger: Path, name: str) -> None:
    with ledger.open("a") as file:
        file.write(name + "\n")
        file.flush()
        os.fsync(file.fileno())


def _promised(ledger: Path) -> set[str]:
    return set(ledger.read_text().splitlines()) if ledger.exists() else set()


def ingest() -> None:
    """Drain the inbox, again and again, as the platform's flow does."""
    settings, parent = Settings(), os.getppid()
    store = connect(settings, patience=5.0)
    key = receipt_key(settings)
    while os.getppid() == parent:
        try:
            candidates = inspect_inbox(store, workers=1)
            if not candidates:
                time.sleep(0.2)
                continue
            settle(store, candidates, key=key)
        except (StorageError, GatewayError, OSError) as error:
            _LOG.info("ingest: %s", error)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    if sys.argv[1] == "ingest":
        ingest()
    else:
        robot(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
