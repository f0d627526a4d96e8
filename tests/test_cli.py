"""The command line: a mistake is one clear message and exit status 1, never a trace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def drover(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DROVER_")}
    return subprocess.run(
        [sys.executable, "-c", "from components.cli import main; main()", *arguments],
        env=environment | {"DROVER_HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--store", "floppy"), "expected seaweedfs or minio"),
        (("robot", "upload", "/nowhere", "--robot", "car-1"), "run `drover up`"),
        (("robot", "upload", "/nowhere"), "expected --robot NAME, found none"),
        (("robot", "status"), "expected its id, found none"),
        (("robot", "simulate"), "run `drover up`"),
        (("robot", "enrol", "robot-1", "--hardware", "simulated"), "run `drover up`"),
        (("quarantine", "list"), "run `drover up`"),
        (("rollout", "list"), "run `drover up`"),
        (("episodes", "list"), "run `drover up`"),
        (("episodes", "list", "--since", "yesterday"), "--since: expected a date or a time"),
        (("episodes", "list", "--split", "exam"), "--split: expected train, validation, test"),
        (("episodes", "list", "--excluded", "maybe"), "--excluded: expected no, only, any"),
        (("episodes", "edit", "ab12", "--reason", "x"), "expected --instruction or --scenario"),
        (("episodes", "delete", "--reason", "x"), "got neither; say what to delete"),
        (("episodes", "delete", "ab12", "--robot", "r", "--reason", "x"), "expected episodes or filters, got both"),
        (("episodes", "collect", "c", "--add", "--remove"), "expected --add or --remove"),
        (("episodes", "split", "all", "--into", "a"), "expected a part and its share such as train=0.8"),
        (("episodes", "split", "all", "--into", "a=1", "--by", "robot"), "--by: expected scenario, session"),
        (("episodes", "view", "ab12", "--save", "/"), "is there already"),
        (("import", "donkey", "/nowhere/tub", "--robot", "car-1"), "/nowhere/tub"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = drover(tmp_path, *arguments)

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_stack_status_says_how_to_start_one_and_down_is_no_error(tmp_path: Path) -> None:
    assert "drover up" in drover(tmp_path, "status").stdout
    ended = drover(tmp_path, "down")
    assert ended.returncode == 0
    assert "nothing was running" in ended.stdout


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = drover(tmp_path, "--help").stdout

    for command in ("up", "down", "status", "demo", "robot", "import", "quarantine", "episodes", "rollout"):
        assert command in shown
