"""`drover suggest` on a real store: from nothing evaluated to ranked scenarios and episodes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from components import cli, evaluation
from components.contracts import DatasetSpec, Settings
from components.contracts.errors import DatasetError, EvidenceError
from components.datasets import build_dataset
from components.storage import connect
from infra.local import store_alone
from tests.evaluation.test_suggest import record, together, untrained
from tests.test_cli import drover


@pytest.fixture
def store(tmp_path, monkeypatch):
    with store_alone(Settings(home=tmp_path / "home")) as settings:
        for name, value in {
            "DROVER_HOME": str(settings.home),
            "DROVER_S3_ENDPOINT": settings.s3_endpoint,
            "DROVER_S3_KEY": settings.s3_key,
            "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
        }.items():
            monkeypatch.setenv(name, value)
        yield connect(settings)


def suggested(*arguments):
    done = CliRunner().invoke(cli.app, ["suggest", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_suggestions_come_from_the_latest_evaluated_ensemble(store, tmp_path: Path) -> None:
    old = [record(store, tmp_path, index) for index in range(24)]
    dataset = build_dataset(store, DatasetSpec(ratios=(0.5, 0.2, 0.3)), old, workers=1)
    with pytest.raises(EvidenceError, match="expected an evaluated ensemble or a promoted policy"):
        suggested()
    with pytest.raises(EvidenceError, match=f"trained on dataset {dataset.version[:12]}, found none"):
        suggested("--dataset", dataset.version[:12])
    with pytest.raises(DatasetError, match="means no dataset"):
        suggested("--dataset", "0000")

    members = [untrained(store, dataset, name, seed) for seed, name in enumerate(("one", "two"))]
    evaluation.evaluate(store, dataset, members, together(dataset, members), trials=None)

    told = suggested()
    assert f"ensemble of dataset {dataset.version[:12]}; doubt is the Jensen-Shannon divergence" in told
    assert {item.scenario for item in dataset.of("validation")} <= set(told.split())
    assert "no episode to suggest" in told

    young = [record(store, tmp_path, 100 + index) for index in range(3)]
    told = suggested("--dataset", dataset.version[:8], "--episodes", "2")
    assert sum(item.file.sha256[:12] in told for item in young) == 2
    assert "times the validation split's" in " ".join(told.split())
    assert "in the training split" in told


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = drover(tmp_path, "suggest")

    assert done.returncode == 1
    assert "run `drover up`" in done.stderr
    assert "Traceback" not in done.stderr
