"""What prefect.yaml asks of the flows: parameters that they take."""

from pathlib import Path
from typing import Any

import yaml

from components.contracts import TrainingPlan
from flows.train_and_promote import train_and_promote

ROOT = Path(__file__).parents[2]


def deployments(flow: str) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return {item["name"]: item for item in document["deployments"] if item["entrypoint"].endswith(f".{flow}")}


def test_the_nightly_run_stops_driving_when_the_decision_is_clear() -> None:
    parameters = deployments("train_and_promote")["nightly"]["parameters"]
    assert train_and_promote.validate_parameters(parameters)["plan"] == TrainingPlan.model_validate(parameters["plan"])
    trials = TrainingPlan.model_validate(parameters["plan"]).trials
    assert trials is not None
    assert (trials.stop_early, trials.rooms) == (True, 96)


def test_a_run_on_demand_drives_a_number_of_rooms_that_is_fixed_beforehand() -> None:
    assert "parameters" not in deployments("train_and_promote")["on-demand"]
    trials = TrainingPlan().trials
    assert trials is not None
    assert (trials.stop_early, trials.rooms) == (False, 40)
