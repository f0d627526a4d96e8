"""Child processes have limits of memory, and end before the agent does."""

import shutil
from pathlib import Path

import pytest

from components.contracts.errors import PolicyError
from components.robot import ChildTrials
from components.robot._child import run_child
from tests.faults.fleet_world import World
from tests.faults.memory_hogs import Found

HOGS = "tests.faults.memory_hogs"


def test_child_has_a_memory_limit_and_is_the_first_that_the_kernel_ends() -> None:
    (line,) = run_child(f"{HOGS}:look", {"package": "."}, timeout_s=60, memory_mib=512)
    found = Found.parse(line, source="child")
    assert found.oom_score_adj == 1000
    assert 512 * 2**20 <= found.data_limit <= (512 + 1024) * 2**20


def test_limit_is_never_more_than_this_machine_has() -> None:
    (line,) = run_child(f"{HOGS}:look", {"package": "."}, timeout_s=60, memory_mib=2.0**60)
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert Found.parse(line, source="child").data_limit < int(total.split()[1]) * 1024


def test_child_that_eats_memory_ends_and_its_parent_does_not() -> None:
    with pytest.raises(PolicyError, match="ended with 1"):
        list(run_child(f"{HOGS}:eat", {"package": "."}, timeout_s=60, memory_mib=64))


def test_trial_driver_that_eats_memory_is_a_failed_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release("r1")
    package = tmp_path / "package"
    package.mkdir()
    shutil.copyfile(world.target("releases/r1/manifest.json"), package / "manifest.json")
    with pytest.raises(PolicyError, match="ended with 1"):
        list(ChildTrials(f"{HOGS}:eat", memory_mib=64)(package, trials=1, seed=0, sha256="0" * 64))
