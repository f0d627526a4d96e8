"""The registry of robots: sources without hardware, and entries that cannot be read."""

import json
from pathlib import Path

import pytest

from components.contracts import UNKNOWN_HARDWARE, EnrolmentRequest, Settings
from components.contracts.errors import PromotionError
from components.ingest import (
    enrol_here,
    enrolled_robot,
    fleet,
    invite_robot,
    publish_receipt_key,
    read_fleet,
    register_robot,
    revoke_robot,
)
from components.ingest._invitations import accept
from components.promotion import enrol_robot
from components.robot import RobotIdentity
from components.storage import FolderStore
from tests.faults.fleet_world import NOW, World
from tests.ingest.gateway_world import gateway_world
from tests.keys import public_key

NEUTRAL = "01" + "00" * 31
"""A key for which anybody can sign."""
BAD = {
    "bytes": b"\xff",
    "no-json": b"{",
    "forgeable-key": json.dumps(
        {"robot": "robot-7", "public_key": NEUTRAL, "hardware": "simulated", "enrolled_at": "2026-01-01T00:00:00Z"}
    ).encode(),
}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    publish_receipt_key(store, public_key(9))
    return store


def join(store: FolderStore, token: str, key: str, hardware: str = UNKNOWN_HARDWARE) -> None:
    accept(store, EnrolmentRequest(robot="robot-7", token=token, public_key=key, hardware=hardware), now=NOW)


@pytest.mark.parametrize("entry", BAD.values(), ids=BAD)
def test_robot_whose_entry_cannot_be_read_is_let_in_again_with_a_new_key(store: FolderStore, entry: bytes) -> None:
    store.put("models", "fleet/robot-7.json", entry)
    with pytest.raises(PromotionError, match=r"cannot be read.*drover robot invite robot-7 --replace"):
        invite_robot(store, "robot-7")
    token = invite_robot(store, "robot-7", replace=True)
    assert fleet(store) == []
    join(store, token, public_key(3), "simulated")
    found = enrolled_robot(store, "robot-7")
    assert found is not None
    assert (found.public_key, found.hardware, found.revoked) == (public_key(3), "simulated", False)


@pytest.mark.parametrize("entry", BAD.values(), ids=BAD)
def test_robot_whose_entry_cannot_be_read_is_revoked(store: FolderStore, entry: bytes) -> None:
    store.put("models", "fleet/robot-7.json", entry)
    assert (read_fleet(store)[0], list(read_fleet(store)[1])) == ([], ["robot-7"])
    revoke_robot(store, "robot-7")
    found = enrolled_robot(store, "robot-7")
    assert found is not None
    assert (found.revoked, found.takes_releases) == (True, False)
    with pytest.raises(PromotionError, match="was revoked"):
        register_robot(store, "robot-7", public_key(3), hardware="simulated")


def test_entry_that_cannot_be_read_is_registered_anew_only_when_that_is_said(store: FolderStore) -> None:
    store.put("models", "fleet/robot-7.json", BAD["forgeable-key"])
    with pytest.raises(PromotionError, match="cannot be read"):
        register_robot(store, "robot-7", public_key(3), hardware="simulated")
    assert register_robot(store, "robot-7", public_key(3), hardware="simulated", replace=True).takes_releases


def test_robot_that_is_invited_again_names_its_hardware_with_the_key_that_it_has(store: FolderStore) -> None:
    first = invite_robot(store, "robot-7")
    join(store, first, public_key(3))
    join(store, first, public_key(3), "simulated")
    assert [(entry.hardware, entry.takes_releases) for entry in fleet(store)] == [(UNKNOWN_HARDWARE, False)]
    join(store, invite_robot(store, "robot-7", replace=True), public_key(3), "simulated")
    assert [(entry.hardware, entry.takes_releases) for entry in fleet(store)] == [("simulated", True)]


def test_source_that_is_let_in_here_has_no_hardware_until_it_is_enrolled_with_one(
    tmp_path: Path,
) -> None:
    home = tmp_path / "agent"
    with gateway_world(tmp_path / "platform") as world:
        settings = Settings(home=tmp_path, gateway_url=world.url)
        enrol_here(world.store, settings, "car-1", home)
        (before,) = fleet(world.store)
        enrol_here(world.store, settings, "car-1", home, hardware="simulated")
        enrol_here(world.store, settings, "car-1", home)
        (after,) = fleet(world.store)
    assert (before.hardware, before.takes_releases) == (UNKNOWN_HARDWARE, False)
    assert (after.hardware, after.public_key) == ("simulated", RobotIdentity(home).public_key)


def test_entry_of_an_earlier_version_keeps_its_hardware_and_goes_on_uploading(tmp_path: Path) -> None:
    fleet_world = World(tmp_path, robots=())
    home = fleet_world.home("car-1")
    enrol_robot(fleet_world.store, fleet_world.repository, "car-1", home, hardware="simulated")
    before = fleet(fleet_world.store)
    token = invite_robot(fleet_world.store, "car-1", replace=True)
    publish_receipt_key(fleet_world.store, public_key(9))
    request = EnrolmentRequest(robot="car-1", token=token, public_key=RobotIdentity(home).public_key)
    accept(fleet_world.store, request, now=NOW)
    assert fleet(fleet_world.store) == before
