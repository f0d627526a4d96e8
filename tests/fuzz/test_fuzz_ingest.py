"""Mutated episodes through the real parsing process: each gets a verdict, and nothing outside the file is read.

`DROVER_FUZZ_CASES=N` changes how many (`unlimited`: until it is interrupted), `DROVER_FUZZ_SEED=S` which; both are
printed with `-s`. A case that fails is kept in build/fuzz.
"""

import hashlib
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import pytest

from components.contracts import EpisodeSummary
from components.ingest import Limits
from components.ingest._process import ParsingProcess, StoppedError
from tests.fuzz.mutations import FRAMES, NAMES, SHAPE, case

pytestmark = pytest.mark.long

KEPT = Path("build/fuzz")
RULES = {
    "unreadable", "schema", "wrong-type", "wrong-shape", "soft-link", "external-link", "external-storage",
    "virtual-dataset", "filter", "bomb", "too-large", "incomplete", "robot-mismatch", "memory", "timeout",
    "worker-killed", "name",
}  # fmt: skip
LIMITS = Limits(wall_s=20, cpu_s=2, files_per_process=1000)
WORKERS = 2
TOKEN = "the-secret-of-somebody-else"


class Fuzzing:
    """One run: its seed, its canary, what it found."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self._folder = folder
        self._local = threading.local()
        self._processes: list[ParsingProcess] = []
        self.verdicts: Counter[str] = Counter()
        self.most_memory = 0
        self.secret, self._away = folder / "secret.h5", folder / "away.h5"
        with h5py.File(self._away, "w") as file:
            for name in NAMES:
                file[name] = [TOKEN.encode()] * FRAMES if name == NAMES[2] else b"\x55" * 2592
            file.attrs["episode_name"] = file.attrs["instruction"] = TOKEN
        os.utime(self._away, (1e9, 1.5e9))  # read before it was written: the next read shows, if the disk notes any
        self._secret_read = self._away.stat().st_atime_ns

    def judge(self, number: int, data: bytes) -> None:
        """Raises AssertionError; the file is kept then."""
        path = self._folder / f"{threading.get_ident()}.h5"
        path.write_bytes(data)
        try:
            self.verdicts[self._verdict(path, hashlib.sha256(data).hexdigest())] += 1
            assert self.secret.stat().st_atime_ns == self._secret_read, "the secret was read"
        except BaseException:
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f"{self.seed}-{number}.h5").write_bytes(data)
            raise

    def _verdict(self, path: Path, sha256: str) -> str:
        process = self._process()
        try:
            answer = process.ask({"path": str(path), "sha256": sha256, "robot": "r1", "name": "fuzz"})
        except StoppedError as stopped:
            return stopped.rule
        assert TOKEN not in json.dumps(answer)
        self.most_memory = max(self.most_memory, _peak(process.pid))
        assert self.most_memory < 300_000_000
        if "rule" in answer:
            assert answer["rule"] in RULES, answer
            assert answer["expected"], answer
            assert answer["observed"] is not None, answer
            return str(answer["rule"])
        summary = EpisodeSummary.model_validate(answer["summary"])
        assert (summary.sha256, summary.robot, summary.name) == (sha256, "r1", "fuzz")
        return "accepted"

    def _process(self) -> ParsingProcess:
        if not hasattr(self._local, "process"):
            self._local.process = ParsingProcess(LIMITS)
            self._processes.append(self._local.process)
        process: ParsingProcess = self._local.process
        return process

    def run(self, numbers: Iterable[int]) -> None:
        try:
            with ThreadPoolExecutor(WORKERS) as pool:
                for batch in _batches(numbers, 500):
                    cases = [case(self.seed, number, self.secret) for number in batch]  # may itself follow its links
                    self._away.rename(self.secret)
                    list(pool.map(self.judge, batch, cases))
                    self.secret.rename(self._away)
        finally:
            for process in self._processes:
                process.close()
            print(f"seed {self.seed}: {dict(self.verdicts.most_common())}, {self.most_memory / 1e6:.0f} MB at most")  # noqa: T201


def _batches(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    rest = iter(numbers)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def _peak(pid: int | None) -> int:
    """Bytes that a process occupied at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM of process {pid}")


def _numbers(default: int) -> Iterable[int]:
    wanted = os.environ.get("DROVER_FUZZ_CASES", str(default))
    return itertools.count() if wanted == "unlimited" else range(int(wanted))


def test_mutated_episodes_each_get_a_verdict_and_read_nothing_else(tmp_path: Path) -> None:
    fuzzing = Fuzzing(int(os.environ.get("DROVER_FUZZ_SEED", "1")), tmp_path)
    fuzzing.run(range(300))
    assert fuzzing.verdicts["accepted"] > 10
    assert len(fuzzing.verdicts) > 8  # the mutations reach the rules


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_twenty_thousand_mutated_episodes_each_get_a_verdict(tmp_path: Path) -> None:
    seed = int(os.environ.get("DROVER_FUZZ_SEED", "2"))
    Fuzzing(seed, tmp_path).run(_numbers(20_000))


def test_case_of_a_seed_is_always_the_same_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    assert [case(3, number, secret) for number in range(20)] == [case(3, number, secret) for number in range(20)]


def test_unchanged_bases_are_accepted(tmp_path: Path) -> None:
    from tests.fuzz.mutations import _base

    process = ParsingProcess(LIMITS)
    try:
        for number in range(24):
            path = tmp_path / "base.h5"
            path.write_bytes(_base(number))
            answer = process.ask({"path": str(path), "sha256": "0" * 64, "robot": "r1", "name": "fuzz"})
            assert answer.get("summary", answer)["frames"] == SHAPE[0]
    finally:
        process.close()
