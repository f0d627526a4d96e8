"""Row 44: a captive portal answers any call. Nothing is believed, the state is as before, and it is tried again."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from components.contracts import Settings, UploadAnswer, UploadedPart
from components.contracts.errors import AlreadyExistsError, GatewayError, ObjectNotFoundError, StorageError
from components.robot import Gateway, GatewayPin, RobotIdentity, Spool, Uploader, UploadRules, enrol
from components.robot._sender import Outgoing, Sender
from components.storage import S3Store, connect, prepare
from infra.local import store_alone
from tests.faults.fleet_world import World
from tests.faults.portals import PORTALS, portal
from tests.keys import public_key

pytestmark = pytest.mark.long

PART = UploadedPart(number=1, etag="0" * 32, size=5)
CALLS: dict[str, Callable[[S3Store, Path], object]] = {
    "stat": lambda store, _: store.stat("releases", "key"),
    "stat of a page": lambda store, _: store.stat("reports", "page.html"),
    "get": lambda store, _: store.get("releases", "key"),
    "get of a page": lambda store, _: store.get("reports", "page.html"),
    "get_file": lambda store, folder: store.get_file("releases", "key", folder / "got"),
    "get_file resumed": lambda store, folder: store.get_file("releases", "key", folder / "got", resume=True),
    "put": lambda store, _: store.put("reports", "key", b"bytes"),
    "put of a page": lambda store, _: store.put("reports", "page.html", b"bytes"),
    "put if absent": lambda store, _: store.put("reports", "key", b"bytes", if_absent=True),
    "put_file": lambda store, folder: store.put_file("reports", "key", folder / "large"),
    "put_file if absent": lambda store, folder: store.put_file("reports", "key", folder / "large", if_absent=True),
    "list": lambda store, _: list(store.list("reports", "robots/")),
    "remove": lambda store, _: store.remove("reports", "key"),
    "begin parts": lambda store, _: store.begin_parts("inbox", "key"),
    "open uploads": lambda store, _: store.open_uploads("inbox", "key"),
    "list parts": lambda store, _: store.list_parts("inbox", "key", "upload"),
    "complete parts": lambda store, _: store.complete_parts("inbox", "key", "upload", [PART], if_absent=False),
    "complete parts if absent": lambda store, _: store.complete_parts("inbox", "key", "u", [PART], if_absent=True),
    "abandon parts": lambda store, _: store.abandon_parts("inbox", "key", "upload"),
    "make a bucket": lambda store, _: store.ensure_bucket("reports"),
    "prepare": lambda store, _: prepare(store),
}


@pytest.mark.parametrize("kind", PORTALS)
def test_row_44_portal_is_believed_by_no_call_to_the_store(tmp_path: Path, kind: str) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100)
    with portal(kind) as found:
        store = S3Store(found.address, "key", "secret", patience=0.01, part_bytes=50)
        for name, call in CALLS.items():
            if (kind, name) == ("s3-like html", "stat of a page"):
                continue  # a forgery: a page of ours answers in the same words
            before = len(found.requests)
            try:
                answer = call(store, tmp_path)
            except (AlreadyExistsError, ObjectNotFoundError) as error:
                raise AssertionError(f"{name} believed the portal: {error}") from error
            except StorageError:
                assert len(found.requests) > before, name
            else:
                raise AssertionError(f"{name} believed the portal: {answer!r}")
    assert sorted(path.name for path in tmp_path.iterdir() if path.stat().st_size) == ["large"]


def test_row_44_answer_with_all_of_s3s_headers_over_other_bytes_confirms_no_write_and_no_read(tmp_path: Path) -> None:
    with portal("plausible without a type") as found:
        status, headers, data = found.answer
        found.answer = (status, headers | {"x-amz-request-id": "1"}, data)
        store = S3Store(found.address, "key", "secret", patience=0.01)
        for name in ("get", "get_file", "put", "put if absent", "list", "remove", "begin parts", "list parts"):
            with pytest.raises(StorageError, match="did not do it within"):
                CALLS[name](store, tmp_path)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        prepare(connect(settings))
        yield settings


@pytest.mark.parametrize("kind", ["html", "empty", "redirect", "not found", "precondition failed", "s3-like html"])
def test_row_44_once_somebody_has_signed_in_every_call_succeeds_by_itself(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    assert settings.s3_key
    assert settings.s3_secret
    secret, key = settings.s3_secret.get_secret_value(), kind.replace(" ", "-")
    (tmp_path / "large").write_bytes(b"x" * 100)
    calls: list[Callable[[S3Store], object]] = [
        lambda store: store.put("reports", key, b"bytes", if_absent=True),
        lambda store: store.get("reports", key) == b"bytes",
        lambda store: store.stat("reports", key),
        lambda store: list(store.list("reports", key)),
        lambda store: store.put_file("reports", f"{key}-large", tmp_path / "large"),
        lambda store: store.get_file("reports", f"{key}-large", tmp_path / "got"),
        lambda store: store.begin_parts("inbox", key),
        lambda store: store.open_uploads("inbox", key),
    ]
    for call in calls:
        with portal(kind, first=2, upstream=str(settings.s3_endpoint)) as found:
            assert call(S3Store(found.address, settings.s3_key, secret))
        assert len(found.requests) > 2


def test_row_44_page_of_ours_is_read_and_its_loss_told_from_a_portals(settings: Settings) -> None:
    store = connect(settings)
    store.put("reports", "page.html", b"<html>ours</html>")
    assert store.get("reports", "page.html") == b"<html>ours</html>"
    assert store.stat("reports", "page.html") is not None
    assert store.stat("reports", "none.html") is None


# the robot's own actions


def spool_with(folder: Path) -> Spool:
    spool = Spool(folder)
    spool.path_of("one").write_bytes(b"data")
    return spool


def gateway_at(url: str, home: Path) -> Gateway:
    pin = GatewayPin(robot="robot-1", url=url, receipt_keys=(public_key(),))
    return Gateway(pin, RobotIdentity(home), patience=0.01)


@pytest.mark.parametrize("kind", PORTALS)
def test_row_44_robot_behind_a_portal_neither_joins_nor_deletes_anything(tmp_path: Path, kind: str) -> None:
    with portal(kind) as found:
        url = f"http://{found.address}"
        with pytest.raises(GatewayError) as refused:
            enrol("robot-1", "t" * 16, tmp_path / "agent", url, patience=0.01)
        spool = spool_with(tmp_path / "spool")
        report = Uploader(spool, gateway_at(url, tmp_path / "agent"), rules=UploadRules()).sync()
    assert kind == "json" or refused.value.again
    assert not (tmp_path / "agent" / "gateway.json").exists()
    assert list(report.failed) == ["one"]
    assert spool.path_of("one").read_bytes() == b"data"
    assert spool.status().alarms


def test_row_44_robot_joins_once_the_portal_is_gone(tmp_path: Path) -> None:
    answer = b'{"robot":"robot-1","receipt_keys":["%s"]}' % public_key().encode()
    with portal("html") as gateway:
        gateway.answer = (200, {"Content-Type": "application/json"}, answer)
        with portal("html", first=2, upstream=gateway.address) as found:
            assert enrol("robot-1", "t" * 16, tmp_path, f"http://{found.address}").robot == "robot-1"
    assert len(found.requests) == 3


@pytest.mark.parametrize("kind", PORTALS)
def test_row_44_part_taken_by_a_portal_does_not_count_as_sent(tmp_path: Path, kind: str) -> None:
    spool = spool_with(tmp_path / "spool")
    with portal(kind) as found:
        link = f'{{"number":1,"size":4,"url":"http://{found.address}/inbox/key?partNumber=1"}}'
        ticket = (
            f'{{"upload_id":"u","part_bytes":5242880,"done":[],"links":[{link}],"expires_at":"2026-01-01T00:00:00Z"}}'
        )
        answer = UploadAnswer.parse(f'{{"state":"open","receipt":null,"ticket":{ticket}}}', source="test")
        with portal("json") as gateway:
            gateway.answer = (200, {"Content-Type": "application/json"}, answer.canonical_json())
            sender = Sender(gateway_at(f"http://{gateway.address}", tmp_path / "agent"), sleep=lambda _s: None)
            with pytest.raises(GatewayError, match="brought no part"):
                sender.send(Outgoing(spool.path_of("one"), "0" * 64, 4))
    assert len(found.requests) >= 2
    assert not any("complete" in request for request in gateway.requests)


@pytest.mark.parametrize("kind", PORTALS)
def test_row_44_report_that_a_portal_took_is_sent_again(tmp_path: Path, kind: str) -> None:
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    with portal(kind) as found:
        assert world.tick(reports=gateway_at(f"http://{found.address}", world.home("robot-1"))) == "r1"
    assert found.requests
    assert world.reports() == []
    assert world.tick() == "r1"
    assert world.reports()[-1]["reason"] == "committed"


@pytest.mark.parametrize("kind", PORTALS)
def test_row_44_agent_behind_a_portal_keeps_what_drives_and_every_floor(tmp_path: Path, kind: str) -> None:
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    world.assign(world.release("r2", tag="two"))
    with portal(kind) as found:
        assert world.tick(store=S3Store(found.address, "key", "secret", patience=0.01)) == "r1"
    assert found.requests
    assert world.tick() == "r2"


def test_link_to_a_part_holds_its_upload_and_nothing_is_asked(tmp_path: Path) -> None:
    with portal("html") as found:
        store = S3Store(found.address, "key", "secret", patience=0.01)
        assert store.part_link("inbox", "key", "upload", 1, expires=timedelta(minutes=1))
        assert store.link("reports", "key")
    assert found.requests == []
    assert list(tmp_path.iterdir()) == []
