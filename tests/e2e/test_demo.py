"""The whole loop for real: `drover demo` from an empty folder, again over what it left, and a run killed half-way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from components.contracts import RunSummary, Settings
from components.storage import connect
from infra import local

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(3000)]

SCHEMA = Path(__file__).parents[2] / "docs" / "demo.schema.json"
RULES = {"unreadable", "wrong-shape", "finite", "duplicate", "external-link"}
_KILLED_RUN = """
from components.contracts import TrainingPlan
from flows.train_and_promote import train_and_promote
train_and_promote(plan=TrainingPlan(epochs=2, trials=None, seed=7))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    yield folder
    _drover(folder, "down")


@pytest.fixture(scope="module")
def first(home: Path) -> dict[str, object]:
    return _demo(home)


def test_the_demo_catches_bad_episodes_and_brings_a_proven_release_to_every_robot(first: dict[str, object]) -> None:
    quarantined = first["episodes"]["quarantined"]  # type: ignore[index]
    assert {episode["rule"] for episode in quarantined} == RULES
    assert len(quarantined) == 5
    assert first["episodes"]["accepted"] == 128  # type: ignore[index]
    assert first["promotion"]["decision"] == "promoted"  # type: ignore[index]
    assert len({robot["release"] for robot in first["robots"]}) == 1  # type: ignore[attr-defined]
    assert all(robot["state"] == "IDLE" and robot["release"] for robot in first["robots"])  # type: ignore[attr-defined]
    assert first["endpoint"] is not None


def test_the_demo_again_finds_everything_and_makes_nothing_twice(home: Path, first: dict[str, object]) -> None:
    again = _demo(home)

    assert again["promotion"]["decision"] == "nothing-new"  # type: ignore[index]
    assert again["episodes"] == first["episodes"]
    assert again["dataset"] == first["dataset"]
    assert again["policies"] == first["policies"]
    assert again["robots"] == first["robots"]
    stages = {stage["name"].strip(): stage for stage in again["stages"]}  # type: ignore[attr-defined]
    assert all(stages[name]["skipped"] for name in ("dataset", "train", "tune", "ensemble"))


def test_a_flow_killed_between_stages_skips_what_is_done_when_it_is_started_again(
    home: Path, first: dict[str, object]
) -> None:
    store = connect(Settings(home=home))
    before = {info.key for info in store.list("models", "stages/train/")}
    victim = subprocess.Popen([sys.executable, "-c", _KILLED_RUN], env=_environment(home))
    deadline = time.monotonic() + 600
    while {info.key for info in store.list("models", "stages/train/")} == before:
        assert victim.poll() is None, "the flow ended before it could be killed"
        assert time.monotonic() < deadline, "the training stage did not end"
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    subprocess.run([sys.executable, "-c", _KILLED_RUN], env=_environment(home), check=True)

    summary = RunSummary.parse(store.get("models", "runs/latest.json"), source="the flow's summary")
    skipped = {stage.name: stage.skipped for stage in summary.stages}
    assert skipped["dataset"]
    assert skipped["train"]
    assert not skipped["tune"]
    assert summary.status == "refused"  # two epochs beat no baseline


def _demo(home: Path) -> dict[str, object]:
    out = home / "demo.json"
    done = _drover(home, "demo", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, object] = json.loads(out.read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(result)
    return result


def _drover(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from components.cli import main; main()", *arguments]
    return subprocess.run(command, env=_environment(home), capture_output=True, text=True, check=False)


def _environment(home: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DROVER_", "PREFECT_", "RAY_"))}
    running = (home / "stack.json").exists()
    return clean | {"DROVER_HOME": str(home)} | (local.environment(Settings(home=home)) if running else {})
