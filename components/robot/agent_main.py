"""The update agent's process: python -m components.robot.agent_main --robot robot-1 --home DIR --trial-driver M:F"""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from components.contracts import Settings, plain_logs
from components.contracts.errors import DroverError
from components.robot._service import run_agent


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 1: a `DroverError`, named on standard error."""
    parser = argparse.ArgumentParser(prog="python -m components.robot.agent_main", description="A robot's agent.")
    parser.add_argument("--robot", required=True, help="its id, e.g. robot-1")
    parser.add_argument("--home", required=True, type=Path, help="its folder; made when the robot was enrolled")
    parser.add_argument("--trial-driver", required=True, help="module:function that drives the operating trials")
    parser.add_argument("--hardware", help="hardware id of a robot that cannot tell, e.g. simulated")
    parser.add_argument("--provider", help="onnxruntime's execution provider")
    parser.add_argument("--poll", type=float, default=2.0, help="seconds between ticks")
    parser.add_argument("--once", action="store_true", help="one tick")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # what it writes is for its owner alone
    plain_logs()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        run_agent(
            Settings(),
            options.robot,
            options.home,
            trial_driver=options.trial_driver,
            hardware=options.hardware,
            provider=options.provider,
            once=options.once,
            poll_s=options.poll,
            stop=stop,
        )
    except DroverError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400  # the message says what to do; a trace does not
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
