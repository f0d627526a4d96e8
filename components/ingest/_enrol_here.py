"""Enrolment of robots whose folders are on the platform's own machine: simulated ones, senders of old files."""

from pathlib import Path

from components.contracts import UNKNOWN_HARDWARE, Settings
from components.contracts.errors import ConfigurationError, PromotionError
from components.robot import RobotIdentity, enrol, read_pin
from components.storage import ObjectStore

from ._invitations import invite_robot
from ._registry import entry_to_change, register_robot


def enrol_here(
    store: ObjectStore, settings: Settings, robot: str, home: Path, *, hardware: str = UNKNOWN_HARDWARE
) -> None:
    """Let a robot into the gateway as any other, with a token that is made on the spot. The same again is no change.

    Args:
        store: with the platform's identity.
        settings: whose `gateway_url` to enrol at.
        robot: its id.
        home: its folder, `<home>/robots/<robot>/agent`.
        hardware: its hardware id; without one it is a source of episodes, which uploads and takes no releases. A source
            that is enrolled again with its hardware takes them from then on; hardware that is known is left as it is.

    Raises:
        ConfigurationError: no gateway runs (`drover up` starts one).
        PromotionError: the robot was revoked, or is enrolled with another key than its folder holds.
        GatewayError: the gateway refused, or is away.
    """
    if settings.gateway_url is None:
        raise ConfigurationError("expected a gateway (DROVER_GATEWAY_URL), found none set; `drover up` starts one")
    try:
        pinned = read_pin(home).url == settings.gateway_url.rstrip("/")
    except ConfigurationError:
        pinned = False  # not enrolled yet, or its memory of that is damaged
    if pinned and hardware == UNKNOWN_HARDWARE:
        return
    known = entry_to_change(store, robot, replace=False)
    if known and known.revoked:
        raise PromotionError(f"{robot} was revoked; if it is trusted again, invite it anew (`drover robot invite`)")
    if known and known.public_key != RobotIdentity(home).public_key:
        raise PromotionError(
            f"{robot} is enrolled with another key than {home} holds; if that is meant, invite it anew"
        )
    if known and known.hardware == UNKNOWN_HARDWARE != hardware:
        register_robot(store, robot, known.public_key, hardware=hardware)
    if known and pinned:
        return
    token = invite_robot(store, robot, replace=known is not None)
    enrol(robot, token, home, settings.gateway_url, hardware=hardware)
