"""The log of the flow run that is going on, which Prefect's pages and `drover logs` show."""

import logging

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger


def run_log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The running task's or flow's logger; outside of both, one whose records reach the console alone."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("prefect.drover")
