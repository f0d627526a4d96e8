"""Output of commands about stored things: hostile text is one line of text, and no line or style of its own."""

import hashlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components import cli, datasets, promotion, storage
from components.cli import _stack
from components.cli._console import console
from components.contracts import Finding, ObjectRef, RolloutState
from components.ingest._candidate import Quarantined
from components.promotion import plan_rollout
from components.robot import Spool
from components.storage import FolderStore
from infra.local import PartStatus
from tests.datasets.records import admit, made
from tests.terminal.hostile import HOSTILE, SHOWN, assert_plain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHA = hashlib.sha256(b"bad").hexdigest()
Drover = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    monkeypatch.setenv("DROVER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(storage, "connect", lambda *_, **__: store)
    return store


@pytest.fixture
def drover(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Drover:
    """The console script in this process, on a console wide enough for one line an entry."""
    monkeypatch.setattr(console, "_width", 3000)
    monkeypatch.setattr(console, "_height", 50)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["drover", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert_plain(out)
        assert_plain(err)
        return int(ended.value.code or 0), out, err

    return run


def hostile_episode(store: FolderStore) -> str:
    record = made(
        0, session=HOSTILE, instruction=HOSTILE, scenario=HOSTILE, pattern=HOSTILE, distance=HOSTILE,
        warnings=(f"{HOSTILE}: {HOSTILE}",), key_counts={HOSTILE: 3},
    )  # fmt: skip
    admit(store, [record])
    return record.file.sha256


def test_episode_with_hostile_words_is_listed_and_shown_as_text(store: FolderStore, drover: Drover) -> None:
    sha256 = hostile_episode(store)
    datasets.keep_collection(store, "mine", [sha256], origin=HOSTILE, by=HOSTILE[:60])
    code, listed, _ = drover("episodes", "list")
    assert (code, listed.count("\n"), SHOWN in listed) == (0, 3, True)
    for command in (("show", sha256), ("stats",)):
        code, shown, _ = drover("episodes", *command)
        assert (code, SHOWN in shown) == (0, True)
    assert drover("episodes", "collections")[1].count("\n") == 2


def test_json_for_programs_is_plain_and_gives_the_hostile_words_back(store: FolderStore, drover: Drover) -> None:
    sha256 = hostile_episode(store)
    (listed,) = json.loads(drover("episodes", "list", "--json")[1])
    shown = json.loads(drover("episodes", "show", sha256, "--json")[1])
    assert listed["instruction"] == shown["session"] == HOSTILE


def test_edit_with_a_hostile_reason_and_author_is_one_line(store: FolderStore, drover: Drover) -> None:
    sha256 = hostile_episode(store)
    code, edited, err = drover(
        "episodes", "edit", sha256, "--scenario", "1box_hori_left", "-r", HOSTILE, "--author", HOSTILE[:60]
    )
    assert (code, edited.count("\n"), SHOWN in edited) == (0, 1, True), err
    assert SHOWN in drover("episodes", "show", sha256)[1]
    assert drover("episodes", "delete", sha256, "-r", HOSTILE, "-y")[0] == 0
    assert drover("episodes", "list", "--excluded", "only")[1].count("\n") == 3


def test_finding_with_hostile_words_is_one_row_and_json(store: FolderStore, drover: Drover) -> None:
    found = Quarantined(
        file=ObjectRef(uri=f"s3://quarantine/{SHA}/x.h5", sha256=SHA, size=1), name=HOSTILE, robot=None,
        inbox_key=f"x/{HOSTILE}",
        finding=Finding(sha256=SHA, rule=HOSTILE, severity="error", expected=HOSTILE, observed=HOSTILE),
    )  # fmt: skip
    store.put("quarantine", f"{SHA}/finding.json", found.canonical_json())
    code, listed, _ = drover("quarantine", "list")
    assert (code, listed.count("\n"), listed.count(SHOWN)) == (0, 2, 4)
    assert json.loads(drover("quarantine", "show", SHA[:8])[1])["name"] == HOSTILE


def test_rollout_with_a_hostile_reason_is_one_row(store: FolderStore, drover: Drover) -> None:
    plan = plan_rollout("d", ("r2", 2), ("robot-1",), previous=("r1", 1), soak_trials=2, timeout_s=3600)
    state = RolloutState(
        plan=plan, status="paused", phase=0, assigned=(), committed=(), failed=(), reason=HOSTILE, phase_started_at=NOW
    )
    store.put("models", "rollouts/d.json", state.canonical_json())
    assert promotion.rollouts(store)
    code, listed, _ = drover("rollout", "list")
    assert (code, listed.count("\n"), SHOWN in listed) == (0, 2, True)
    code, said, _ = drover("rollout", "resume", "d")
    assert (code, said.count("\n")) == (0, 1)


def test_alarm_with_hostile_words_is_one_line(store: FolderStore, drover: Drover, tmp_path: Path) -> None:
    Spool(tmp_path / "home" / "robots" / "robot-1").journal.alarm(HOSTILE, HOSTILE)
    code, shown, _ = drover("robot", "status", "robot-1")
    assert (code, shown.splitlines()[-1].count(SHOWN)) == (1, 2)


def test_note_of_a_part_of_the_stack_is_one_row() -> None:
    row = PartStatus("ray", HOSTILE, 1, "failed", NOW, 0, 1.0, HOSTILE)
    with console.capture() as shown:
        console.print(_stack._stack_table([row]), width=2000)
    assert shown.get().count("\n") >= 2
    assert "\x1b" not in shown.get()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("episodes", "show", HOSTILE), 1),
        (("episodes", "list", "--collection", HOSTILE), 1),
        (("episodes", "list", "--limit", HOSTILE), 2),
        (("up", "--store", HOSTILE), 1),
        ((HOSTILE,), 2),
        (("status", f"--{HOSTILE}"), 2),
        (("import", "hdf5", f"/nowhere/{HOSTILE.replace(chr(0), '')}", "--robot", "r"), 1),
        (("report", HOSTILE), 1),
        (("gate", "explain", HOSTILE), 1),
        (("rebuild", HOSTILE.replace(chr(0), "")), 1),
    ],
)
def test_mistake_that_quotes_hostile_words_is_one_line(
    store: FolderStore, drover: Drover, arguments: tuple[str, ...], code: int
) -> None:
    assert store
    ended, out, err = drover(*arguments)
    assert (ended, out, err.count("\n")) == (code, "", 1), err
    assert err.startswith("error: ")


def test_fault_of_ours_with_hostile_words_is_a_trace_of_text(
    store: FolderStore, drover: Drover, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(store, "list", fail)
    code, _, err = drover("episodes", "list")
    assert code == 1
    assert [line for line in err.splitlines() if not line.startswith("    ")] == ["Traceback (most recent call last):"]
