"""Rows 20, 22, 23 and 37 with a real package on onnxruntime: what the recorded outputs catch is never activated."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from components.contracts import Budget, PackageManifest, PolicyPackage, Settings, Tolerances
from components.ingest import enrol_here
from components.promotion import advance, enrol_robot, fleet, hear, open_repository, plan_rollout, start_rollout
from components.robot import OnnxBench
from components.storage import connect
from infra.local import store_alone
from tests.faults.fleet_world import World, keep_package, real_trials
from tests.ingest.gateway_world import GatewayWorld
from tests.packaging.made import change, make

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real package, exported and proven."""
    return make(tmp_path_factory.mktemp("made")).folder


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def offer(world: World, folder: Path, copy: str, **fields: object) -> PolicyPackage:
    """A package that was altered as a builder's mistake would, and then signed."""
    altered = Path(shutil.copytree(folder, world.root / copy))
    if fields:
        change(altered, **fields)  # type: ignore[arg-type]
    package = keep_package(world.store, altered)
    world.assign(world.repository.publish_release(package, name=copy))
    return package


def test_real_package_is_tested_activated_tried_and_committed(world: World, folder: Path) -> None:
    offer(world, folder, "good")
    assert world.tick(bench=OnnxBench(runs=10), trials=real_trials) == "good"
    last = world.reports()[-1]
    assert (last["reason"], last["trials"], last["provider"]) == ("committed", 2, "CPUExecutionProvider")
    assert last["p99_ms"] > 0


def test_row_20_parity_beyond_tolerance_is_not_activated(world: World, folder: Path) -> None:
    strict = Tolerances(features=1e-12, scores=1e-12, jpeg_scores=1e-12)
    recorded = load_file(folder / "golden.safetensors")
    recorded["scores"] = recorded["scores"] + np.float32(1e-6)
    offer(world, folder, "strict", tolerances=strict, files={"golden.safetensors": save(recorded)})
    assert world.tick(bench=OnnxBench(runs=10), trials=real_trials) is None
    assert "expected within 1e-12 of the recorded ones" in world.reports()[-1]["reason"]


def test_row_22_p99_over_budget_is_not_activated(world: World, folder: Path) -> None:
    offer(world, folder, "slow", budget=Budget(p99_ms=0.001))
    assert world.tick(bench=OnnxBench(runs=10), trials=real_trials) is None
    assert "expected p99 at most 0.001 ms" in world.reports()[-1]["reason"]


def test_row_23_wrong_normalisation_fails_the_golden_outputs(world: World, folder: Path) -> None:
    divide_by_255, divide_by_254 = b"\x00\x00\x7f\x43", b"\x00\x00\x7e\x43"
    graph = (folder / "encode.onnx").read_bytes()
    assert divide_by_255 in graph
    offer(world, folder, "shifted", files={"encode.onnx": graph.replace(divide_by_255, divide_by_254)})
    assert world.tick(bench=OnnxBench(runs=10), trials=real_trials) is None
    assert "features" in world.reports()[-1]["reason"]


def test_row_23_wrong_tokenizer_fails_the_golden_outputs(world: World, folder: Path) -> None:
    words = PackageManifest.parse((folder / "manifest.json").read_bytes(), source="made").vocabulary
    offer(world, folder, "wrong", vocabulary=tuple(reversed(words)))
    assert world.tick(bench=OnnxBench(runs=10), trials=real_trials) is None
    assert "tokens" in world.reports()[-1]["reason"]


def test_row_17_self_test_that_hangs_is_ended_and_quarantined(world: World, folder: Path) -> None:
    offer(world, folder, "endless")
    assert world.tick(bench=OnnxBench(runs=10**9, timeout_s=5)) is None
    assert "did not finish" in world.reports()[-1]["reason"]


def test_agent_as_a_process_against_s3_commits_and_its_signed_report_is_heard(tmp_path: Path, folder: Path) -> None:
    with (
        store_alone(Settings(home=tmp_path / "stack")) as settings,
        GatewayWorld(settings).open() as gateway,
    ):
        store, home = connect(settings), tmp_path / "robot-1"
        repository = open_repository(store, settings)
        enrol_robot(store, repository, "robot-1", home, hardware="simulated")
        enrol_here(store, settings.model_copy(update={"gateway_url": gateway.url}), "robot-1", home)
        release = repository.publish_release(keep_package(store, folder))
        start_rollout(
            store, plan_rollout("d1", (release.name, release.number), ("robot-1",), previous=None, soak_trials=2)
        )
        advance(store, settings)
        secrets = {name: getattr(settings, name) for name in ("s3_endpoint", "robot_s3_key", "robot_s3_secret")}
        secrets["robot_s3_secret"] = secrets["robot_s3_secret"].get_secret_value()
        command = [sys.executable, "-m", "components.robot.agent_main", "--robot", "robot-1", "--home", str(home)]
        done = subprocess.run(
            [*command, "--hardware", "simulated", "--once", "--trial-driver", "tests.faults.fleet_world:real_trials"],
            env=os.environ | {f"DROVER_{name.upper()}": str(value) for name, value in secrets.items()},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (state,) = advance(store, settings)
        assert (state.status, state.committed) == ("completed", ("robot-1",)), done.stderr
        (report,) = hear(store, fleet(store)).latest.values()
        assert report.release == release.name
