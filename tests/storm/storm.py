"""A storm: many robots, small episodes, and kill -9 for robots, gateway, ingest and store, at random.

Gateway and store are kept by the stack's own keepers, as `drover up` keeps them; robots and ingest are started again
here, as a robot's init and the platform's worker would.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from components.contracts import EpisodeRecord, Settings
from components.ingest import invite_robot, quarantined, records
from components.robot import Spool, enrol
from components.storage import S3Store, connect
from infra.local import Running, some_parts
from tests.storm.actors import episode_name

_POLL_S = 0.1
_KILLS = ("robot", "robot", "ingest", "gateway", "store")
"""What is killed in turn, in random order: robots more often, there are more of them."""


@dataclass
class Outcome:
    """What was left when every robot had its receipts."""

    kills: Counter[str] = field(default_factory=Counter)
    records: list[EpisodeRecord] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    left_in_spools: list[str] = field(default_factory=list)
    left_in_inbox: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Episodes whose stored bytes are not those that their name says."""


def planned(robots: int, episodes: int) -> set[tuple[str, str]]:
    """(robot, name) of every episode."""
    return {(_name(index % robots), episode_name(index // robots)) for index in range(episodes)}


def storm(home: Path, *, robots: int, episodes: int, kills: int, seed: int, deadline_s: float) -> Outcome:
    """Let it rage until all is quiet, then count.

    Args:
        home: everything that it keeps.
        kills: how many processes are killed, spread over the episodes' arrival.
        seed: of who is killed when, and of the frames.
        deadline_s: an AssertionError says what is missing if it takes longer.
    """
    chance, outcome = random.Random(seed), Outcome()
    with some_parts(Settings(home=home), "store", "gateway") as kept:
        store = connect(kept.settings, patience=60.0)
        shares = Counter(robot for robot, _ in planned(robots, episodes))
        for robot in shares:
            enrol(robot, invite_robot(store, robot), home / robot / "agent", str(kept.settings.gateway_url))
        victims = chance.choices(_KILLS, k=max(0, kills - len(set(_KILLS)))) + sorted(set(_KILLS))
        moments = sorted(chance.uniform(0.02, 0.9) * episodes for _ in victims)
        chance.shuffle(victims)
        with _actors(home, kept.settings, shares, seed) as actors:
            end = time.monotonic() + deadline_s
            while actors.robots_at_work():
                assert time.monotonic() < end, f"not quiet after {deadline_s:g} s: {actors.arrived()} of {episodes}"
                actors.revive()
                if victims and actors.arrived() >= moments[0]:
                    moments.pop(0)
                    who = victims.pop()
                    outcome.kills[who] += actors.kill(who, kept, chance)
                time.sleep(_POLL_S)
        _count(outcome, home, shares, store)
    return outcome


class _Actors:
    """The robots' and ingest's processes."""

    def __init__(self, home: Path, settings: Settings, shares: Counter[str], seed: int) -> None:
        self._home, self._shares, self._seed = home, shares, seed
        self._environment = dict(os.environ) | {"DROVER_HOME": str(home), "PYTHONPATH": str(Path.cwd())}
        self._environment |= {
            "DROVER_S3_ENDPOINT": str(settings.s3_endpoint),
            "DROVER_S3_KEY": str(settings.s3_key),
            "DROVER_S3_SECRET": settings.s3_secret.get_secret_value() if settings.s3_secret else "",
        }
        self._processes = {robot: self._start_robot(robot) for robot in shares}
        self._ingest = self._start("ingest", "ingest")

    def _start_robot(self, robot: str) -> subprocess.Popen[bytes]:
        return self._start(robot, "robot", str(self._home), robot, str(self._shares[robot]), str(self._seed))

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.storm.actors", *arguments]
        with (self._home / "logs" / f"storm-{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def robots_at_work(self) -> bool:
        """Whether one has not ended of its own will, with everything confirmed."""
        return any(process.poll() != 0 for process in self._processes.values())

    def arrived(self) -> int:
        """Episodes recorded, by the robots' ledgers: the storm's clock."""
        ledgers = (self._home / robot / "recorded.txt" for robot in self._shares)
        return sum(ledger.read_bytes().count(b"\n") for ledger in ledgers if ledger.exists())

    def revive(self) -> None:
        for robot, process in self._processes.items():
            if process.poll() not in {None, 0}:
                self._processes[robot] = self._start_robot(robot)
        if self._ingest.poll() is not None:
            self._ingest = self._start("ingest", "ingest")

    def kill(self, who: str, kept: Running, chance: random.Random) -> int:
        """1 if somebody was there to be killed."""
        if who == "robot":
            alive = [process for process in self._processes.values() if process.poll() is None]
            if alive:
                chance.choice(alive).kill()
            return bool(alive)
        if who == "ingest":
            self._ingest.kill()
            return 1
        pid = kept.pid(who)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(pid is not None)

    def end(self) -> None:
        for process in (*self._processes.values(), self._ingest):
            process.kill()
            process.wait()


@contextmanager
def _actors(home: Path, settings: Settings, shares: Counter[str], seed: int) -> Iterator[_Actors]:
    actors = _Actors(home, settings, shares, seed)
    try:
        yield actors
    finally:
        actors.end()


def _count(outcome: Outcome, home: Path, robots: Iterable[str], store: S3Store) -> None:
    outcome.records = records(store)
    outcome.quarantined = [f"{item.robot}/{item.name}: {item.finding.rule}" for item in quarantined(store)]
    outcome.left_in_spools = [str(path) for robot in robots for path in Spool(home / robot).pending()]
    outcome.left_in_inbox = [info.key for info in store.list("inbox")]
    for record in outcome.records:
        data = store.get("episodes", f"{record.file.sha256}.h5")
        if hashlib.sha256(data).hexdigest() != record.file.sha256:
            outcome.damaged.append(record.file.sha256)


def _name(index: int) -> str:
    return f"robot-{index + 1}"
