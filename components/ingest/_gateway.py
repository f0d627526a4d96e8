"""The upload gateway: what robots talk to. HTTP on the outside, `Arrivals` and the registry behind it.

Every answer that is not 2xx is a GatewayProblem. Nothing that a robot sends reaches a log, except its id.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.contracts import Frozen
from components.storage import S3Store

from ._quota import UploadLimits

if TYPE_CHECKING:
    from fastapi import FastAPI


class GatewayLimits(Frozen):
    """How much anybody may ask of the gateway."""

    uploads: UploadLimits = UploadLimits()
    body_bytes: Annotated[int, Field(ge=1)] = 64 * 1024
    body_s: Annotated[float, Field(gt=0)] = 10.0
    """From the headers to the body's last byte."""
    at_once: Annotated[int, Field(ge=1)] = 64
    """Requests in work, their bodies whole; more are `busy`."""
    bodies_per_address: Annotated[int, Field(ge=1)] = 32
    """Requests of one address whose bodies are on their way; more are `busy`."""
    requests_per_robot: Annotated[int, Field(ge=1)] = 6_000
    """Within two minutes."""
    requests: Annotated[int, Field(ge=1)] = 200_000
    """Of all robots, within two minutes: as many tokens are remembered."""
    reports_per_hour: Annotated[int, Field(ge=1)] = 600
    """Of one robot; an update makes about five. At most 5 kB each."""


def gateway_app(
    store: S3Store,
    *,
    links: S3Store | None = None,
    limits: GatewayLimits | None = None,
    on_waiting: Callable[[str], None] = lambda _robot: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> "FastAPI":
    """The ASGI application: `GET /healthz`, `POST /v1/enrolments`, `/v1/uploads`, `/v1/uploads/complete`,
    `/v1/reports`.

    Args:
        store: with the gateway's identity; a short patience, because robots ask again.
        links: the same store and identity under the endpoint that robots reach; None: the same one.
        limits: how much robots may ask for.
        on_waiting: told the robot after each completed upload; must not block. What it raises is logged.
        now: the gateway's clock.
    """
    from ._gateway_http import build_app

    return build_app(store, links or store, limits or GatewayLimits(), on_waiting, now)
