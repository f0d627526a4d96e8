"""`drover run` and `drover logs` as a person types them: what needs no stack, and the whole against a running one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cli._run import _parsed
from components.contracts import Settings
from components.contracts.errors import ConfigurationError
from infra import local
from infra._log_files import Tail, last_lines
from infra.runs import _message, open_runs

COMMAND = [sys.executable, "-c", "from components.cli import main; main()"]


def drover(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DROVER_", "PREFECT_"))}
    return subprocess.run(
        [*COMMAND, *arguments], env=environment | {"DROVER_HOME": str(home)} | more, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def test_parameters_are_json_or_text_and_a_dot_names_a_field() -> None:
    said = ("dataset.source=robot", "plan.trials=null", "plan.members={}", "dataset.seed=3", "dataset.collection=a=b")
    assert _parsed(said) == {
        "dataset": {"source": "robot", "seed": 3, "collection": "a=b"},
        "plan": {"trials": None, "members": {}},
    }


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("dataset",), "expected key=value"),
        (("=1",), "expected key=value"),
        (("plan.epochs=1", "plan.epochs=2"), "expected plan.epochs once"),
        (("plan=1", "plan.epochs=2"), "which another -p sets"),
    ],
)
def test_a_slip_in_a_parameter_is_told(said: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        _parsed(said)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("Flow run encountered an exception: DatasetError: expected 3 groups", "expected 3 groups"),
        ("Task run encountered an exception DatasetError: expected 3 groups", "expected 3 groups"),
        ("Flow run encountered an exception: ValueError: bad", "ValueError: bad"),
        ("Execution was aborted by a termination signal.", "Execution was aborted by a termination signal."),
        ("", ""),
    ],
)
def test_the_reason_is_the_errors_own_message(state: str, message: str) -> None:
    assert _message(state) == message


@pytest.mark.parametrize("arguments", [("run", "ingest-episodes"), ("logs", "worker")])
def test_without_a_stack_one_sentence_says_how_to_start_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = drover(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "drover up" in done.stderr


def test_last_lines_reach_into_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    (tmp_path / "worker.log.1").write_text("one\ntwo\n")
    path.write_text("three\nfour\n" + "x" * 200_000 + "\n")
    assert last_lines(path, 1) == ["x" * 200_000]
    assert last_lines(path, 4)[:3] == ["two", "three", "four"]
    assert last_lines(path, 99)[0] == "one"


def test_a_log_is_followed_into_the_file_that_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("old\n")
    with Tail(path) as tail:
        assert list(tail.new_lines()) == []
        with path.open("a") as file:
            file.write("one\ntw")
        assert list(tail.new_lines()) == ["one"]
        with path.open("a") as file:
            file.write("o\n")
        path.rename(tmp_path / "worker.log.1")
        path.write_text("three\n")
        assert list(tail.new_lines()) == ["two", "three"]


def test_a_parts_log_is_shown_newest_last_and_its_control_characters_as_text(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker.log").write_text("first\n\x1b[31mred\x1b[0m\x07\nlast\n")
    done = drover(tmp_path, "logs", "worker", "-n", "2")
    assert done.stdout == "\\x1b[31mred\\x1b[0m\\x07\nlast\n"
    assert "worker.log" in drover(tmp_path, "logs").stdout
    unknown = drover(tmp_path, "logs", "../stack")
    assert unknown.returncode == 1
    assert "parts here: worker" in unknown.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("stack") / "home"
    local.up(Settings(home=home))
    yield home
    local.down(Settings(home=home))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_are_started_followed_left_and_explained(home: Path) -> None:
    # one that works, followed to its end
    done = drover(home, "run", "ingest-episodes")
    assert done.returncode == 0, done.stderr
    assert "ingest: completed" in done.stdout
    assert "NothingNew: nothing is in the inbox" in done.stdout

    # one that would fail is refused before it is submitted, all reasons at once
    refused = drover(home, "run", "train-and-promote")
    assert refused.returncode == 1
    assert "upload and ingest some first" in refused.stderr
    assert "at least one enrolled robot" in refused.stderr
    bad = drover(home, "run", "train-and-promote", "-p", "dataset.ratios=[70,20,10]", "-p", "plan.epoch=1")
    assert bad.returncode == 1
    assert "2 of the parameters do not fit" in bad.stderr

    # the flow itself checks too: its failure ends with the reason, and the log has it
    with open_runs(Settings(home=home)) as runs:
        run = runs.start("train-and-promote", {})
    followed = drover(home, "logs", run.name, "--follow")
    assert followed.returncode == 0, followed.stderr
    assert f"{run.name}: Failed" in followed.stdout
    with open_runs(Settings(home=home)) as runs:
        ended = runs.refresh(run)
        assert runs.reason(ended).startswith("preflight: the run would fail, 2 problems found")

    # Ctrl-C leaves it going
    process = subprocess.Popen(
        [*COMMAND, "run", "ingest-episodes"], env=os.environ | {"DROVER_HOME": str(home)}, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    name = process.stdout.readline().split()[1]
    process.send_signal(signal.SIGINT)
    assert "goes on" in process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert f"{name}: " in drover(home, "logs", name, "--follow").stdout
    with open_runs(Settings(home=home)) as runs:
        found = runs.find(name)
        assert found is not None
        assert found.succeeded

    detached = drover(home, "run", "ingest-episodes", "--detach")
    assert detached.returncode == 0
    assert "--follow" in detached.stdout

    # what is printed for programs and in a pipe is whole
    status = json.loads(drover(home, "status", "--json").stdout)
    assert {part["name"] for part in status["parts"]} >= {"supervisor", "prefect", "worker"}
    shown = drover(home, "status", COLUMNS="60").stdout
    assert all(part["where"].split()[0] in shown for part in status["parts"])

    # and Ray's own command works with `drover env`
    script = f'eval "$({sys.executable} -c "from components.cli import main; main()" env)" && ray list nodes'
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}"
    nodes = subprocess.run(
        ["bash", "-c", script], env=clean | {"DROVER_HOME": str(home), "PATH": path}, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert "ALIVE" in nodes.stdout, nodes.stderr
