"""Reports on their way to the platform: by the gateway that the robot's enrolment pinned."""

from pathlib import Path
from typing import Protocol

from components.contracts import SignedReport
from components.contracts.errors import ConfigurationError, GatewayError

from ._gateway import Gateway, open_gateway


class ReportSink(Protocol):
    """Where signed reports go; `Gateway` is one."""

    def report(self, signed: SignedReport) -> None:
        """Return once the platform has confirmed these very bytes.

        Raises:
            GatewayError: it has not; the report stays where it is. `conflict`: its number is taken by other bytes.
        """


class PinnedReports:
    """The gateway of the pin in a robot's home, looked for until there is one: an agent works without.

    Args:
        home: the robot's folder.
        patience: seconds during which a report is tried again while the gateway is away.
    """

    def __init__(self, home: Path, *, patience: float) -> None:
        self._home, self._patience = home, patience
        self._gateway: Gateway | None = None

    def report(self, signed: SignedReport) -> None:
        """Raises GatewayError as `Gateway.report`; `away` also while no gateway is pinned."""
        if self._gateway is None:
            try:
                self._gateway = open_gateway(self._home, patience=self._patience)
            except ConfigurationError as error:
                raise GatewayError("away", str(error)) from None
        self._gateway.report(signed)
