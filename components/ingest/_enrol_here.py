"""Enrolment of robots whose folders are on the platform's own machine: simulated ones, senders of old files."""

from pathlib import Path

from components.contracts import Settings
from components.contracts.errors import ConfigurationError, PromotionError
from components.robot import RobotIdentity, enrol, read_pin
from components.storage import ObjectStore

from ._registry import enrolled_robot, invite_robot


def enrol_here(store: ObjectStore, settings: Settings, robot: str, home: Path, *, hardware: str = "simulated") -> None:
    """Let a robot into the gateway as any other, with a token that is made on the spot. The same again is no change.

    Args:
        store: with the platform's identity.
        settings: whose `gateway_url` to enrol at.
        robot: its id.
        home: its folder, `<home>/robots/<robot>/agent`.
        hardware: its hardware id.

    Raises:
        ConfigurationError: no gateway runs (`drover up` starts one).
        PromotionError: the robot was revoked, or is enrolled with another key than its folder holds.
        GatewayError: the gateway refused, or is away.
    """
    if settings.gateway_url is None:
        raise ConfigurationError("expected a gateway (DROVER_GATEWAY_URL), found none set; `drover up` starts one")
    try:
        if read_pin(home).url == settings.gateway_url.rstrip("/"):
            return
    except ConfigurationError:
        pass  # not enrolled yet, or its memory of that is damaged
    known = enrolled_robot(store, robot)
    if known and known.revoked:
        raise PromotionError(f"{robot} was revoked; if it is trusted again, invite it anew (`drover robot invite`)")
    if known and known.public_key != RobotIdentity(home).public_key:
        raise PromotionError(
            f"{robot} is enrolled with another key than {home} holds; if that is meant, invite it anew"
        )
    token = invite_robot(store, robot, replace=known is not None)
    enrol(robot, token, home, settings.gateway_url, hardware=hardware)
