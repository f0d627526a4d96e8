"""`drover episodes`: the whole way by its commands, on the embedded store with real episode files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from components import cli
from components.contracts import EpisodeRecord, Settings
from components.contracts.errors import DroverError
from components.datasets import build_dataset, select
from components.episodes import read_episode
from components.storage import S3Store, connect, sha256_of_file
from infra.local import store_alone
from tests.datasets.records import admit, made
from tests.datasets.test_build import SPEC, admitted

Drover = Callable[..., str]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("home"))) as settings:
        yield settings


@pytest.fixture(scope="module")
def store(settings: Settings) -> S3Store:
    return connect(settings)


@pytest.fixture(scope="module")
def records(store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeRecord]:
    folder = tmp_path_factory.mktemp("episodes")
    records = [admitted(store, folder, number) for number in range(12)]  # type: ignore[arg-type]  # any store does
    admit(store, records)
    return records


@pytest.fixture
def drover(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Drover:
    assert settings.s3_secret
    for name, value in {
        "DROVER_HOME": str(settings.home),
        "DROVER_S3_ENDPOINT": settings.s3_endpoint,
        "DROVER_S3_KEY": settings.s3_key,
        "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value or "")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def run(*arguments: str) -> str:
        group = [] if arguments[0] == "export" else ["episodes"]
        done: Result = CliRunner().invoke(cli.app, [*group, *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def shown(drover: Drover, *filters: str) -> list[str]:
    """SHA-256s that `list` lets through."""
    listed = json.loads(drover("list", "--json", *filters))
    assert drover("list", "-q", *filters).split() == [item["sha256"] for item in listed]
    return [item["sha256"] for item in listed]


def _instruction(recording: Path) -> str:
    from rerun.chunk import RrdReader

    (text,) = [
        chunk.to_record_batch()["TextDocument:text"].to_pylist()
        for chunk in RrdReader(recording).stream()
        if str(chunk.entity_path) == "/instruction"
    ]
    return str(text[0][0])


def test_an_episode_is_edited_deleted_and_restored_and_datasets_follow(
    drover: Drover, store: S3Store, records: list[EpisodeRecord], tmp_path: Path
) -> None:
    first, second = records[0].file.sha256, records[1].file.sha256
    before = build_dataset(store, *select(store, SPEC, records))
    assert set(shown(drover)) == {record.file.sha256 for record in records}

    drover("edit", first[:9], "--instruction", "Keep left of it", "--reason", "as it was told", "--author", "kim")
    drover("delete", f"{records[1].summary.robot}/{records[1].summary.name}", "--reason", "blurred")

    assert shown(drover, "--excluded", "only") == [second]
    assert shown(drover, "--text", "keep LEFT") == [first]
    after = build_dataset(store, *select(store, SPEC, records))
    assert after.version != before.version
    assert {item.sha256 for item in after.episodes} == {record.file.sha256 for record in records} - {second}
    told = json.loads(drover("show", second[:9], "--json"))
    assert told["excluded"] is True
    assert [(edit["number"], edit["reason"]) for edit in told["edits"]] == [(1, "blurred")]
    assert [place["version"] for place in told["datasets"]] == [before.version]
    assert set(shown(drover, "--dataset", after.version[:12], "--split", "test")) == {
        item.sha256 for item in after.of("test")
    }

    save = tmp_path / "seen" / "first.rrd"
    drover("view", first, "--save", str(save))
    assert _instruction(save) == "Keep left of it"
    assert "(admitted as" in drover("show", first)

    drover("restore", "--session", records[1].summary.session, "--reason", "it is not", "--yes")
    drover("edit", first, "--instruction", records[0].summary.instruction, "--reason", "it was not")
    assert build_dataset(store, *select(store, SPEC, records)) == before
    assert "(admitted as" not in drover("show", first)

    for out, wanted in (("now", ("--id", first)), ("then", ("--dataset", after.version[:12]))):
        drover("export", "hdf5", *wanted, "--out", str(tmp_path / out))
    name = f"{records[0].summary.name}.h5"
    assert sha256_of_file(tmp_path / "now" / name) == first
    assert read_episode(tmp_path / "then" / name).attributes.instruction == "Keep left of it"
    assert len(list((tmp_path / "then").iterdir())) == len(records) - 1
    for record in records:
        kept = tmp_path / "kept.h5"
        store.get_file("episodes", record.file.key, kept)
        assert sha256_of_file(kept) == record.file.sha256
        assert read_episode(kept).attributes.instruction == record.summary.instruction


def test_collections_are_collected_merged_and_split(drover: Drover, records: list[EpisodeRecord]) -> None:
    everything = {record.file.sha256 for record in records}
    drover("collect", "left", "--scenario", "*_left")
    drover("collect", "right", *(record.file.sha256[:10] for record in records if record.file.sha256 not in
                                 set(shown(drover, "--collection", "left"))))  # fmt: skip
    drover("merge", "left", "right", "--into", "both")
    assert set(shown(drover, "--collection", "both@1")) == everything

    drover("split", "both", "--into", "train=0.5", "--into", "held=0.5", "--seed", "1")
    train, held = (set(shown(drover, "--collection", name)) for name in ("train", "held"))
    assert train | held == everything
    assert not train & held
    sessions = [
        {(record.summary.robot, record.summary.session) for record in records if record.file.sha256 in part}
        for part in (train, held)
    ]
    assert not sessions[0] & sessions[1]

    drover("collect", "both", "--remove", "--scenario", "*_left")
    assert set(shown(drover, "--collection", "both")) == set(shown(drover, "--collection", "right"))
    assert {item["name"] for item in json.loads(drover("collections", "--json"))} == {
        "left", "right", "both", "train", "held",
    }  # fmt: skip
    assert json.loads(drover("stats", "--collection", "right", "--json"))["episodes"] == len(
        shown(drover, "--collection", "right")
    )
    for command in (("list",), ("stats",), ("collections",), ("show", records[0].file.sha256[:9])):
        assert drover(*command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "episode_2"), "there is no episode 'episode_2'"),
        (("list", "--collection", "nobody"), "there is no collection 'nobody'"),
        (("list", "--dataset", "0000"), "means no dataset"),
        (("delete", "--robot", "nobody", "--reason", "x"), "nothing to delete"),
        (("split", "all", "--into", "a=0.5", "--into", "b=0.6"), "sum to 1"),
        (("merge", "nobody", "--into", "b"), "no collection 'nobody'"),
        (("edit", "episode_x", "--scenario", "moon", "--reason", "x"), "there is no episode"),
    ],
)
def test_a_mistake_is_one_message(
    drover: Drover, records: list[EpisodeRecord], arguments: tuple[str, ...], message: str
) -> None:
    assert records
    with pytest.raises(DroverError, match=message):
        drover(*arguments)


def test_a_machine_without_a_display_is_told_to_save(drover: Drover, records: list[EpisodeRecord]) -> None:
    with pytest.raises(DroverError, match="no display: use --save"):
        drover("view", records[0].file.sha256)


@pytest.mark.slow
def test_ten_thousand_episodes_are_listed_and_counted(drover: Drover, store: S3Store) -> None:
    """By as few requests as pages: how long it takes is `make bench`'s to say."""
    admit(store, [made(number, robot="many") for number in range(10_000)])

    assert len(shown(drover, "--robot", "many")) == 10_000
    assert json.loads(drover("stats", "--robot", "many", "--json"))["frames"] == 180_000
