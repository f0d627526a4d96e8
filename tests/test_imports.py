"""What an import may cost: the flows and the components load no heavy library, the robot's rooms none at all."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "ray", "great_expectations", "bentoml", "mujoco", "numba", "onnx", "onnxruntime", "pandas", "scipy"}


def _loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `statement`."""
    told = "json.dumps(sorted({name.partition('.')[0] for name in sys.modules}))"
    code = f"import json, sys\n{statement}\nprint({told})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_components_and_the_story_loads_no_heavy_library() -> None:
    assert _loaded_by("import components, flows.train_and_promote") & HEAVY == set()


@pytest.mark.parametrize(
    "room", ["components", "components.contracts", "components.storage", "components.episodes", "components.robot"]
)
def test_what_a_robot_imports_loads_no_heavy_library_and_no_orchestrator(room: str) -> None:
    assert _loaded_by(f"import {room}") & (HEAVY | {"prefect"}) == set()


def test_the_command_line_answers_without_a_heavy_library() -> None:
    assert _loaded_by("import components.cli") & (HEAVY | {"prefect"}) == set()
