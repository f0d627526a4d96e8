"""A loop that an unexpected error does not end: it waits longer each time, and goes on."""

import logging
import random
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

MAX_WAIT_S = 60.0
_DOUBLINGS = 10


def keep_running(
    step: Callable[[], object],
    *,
    stop: threading.Event,
    poll_s: float,
    failed: Callable[[Exception], None],
    worked: Callable[[], None] = lambda: None,
    max_wait_s: float = MAX_WAIT_S,
    ends: Callable[[Exception], bool] = lambda _error: False,
) -> None:
    """Call `step` until `stop` is set.

    Args:
        step: one round.
        stop: ends it after the round in hand, a wait at once.
        poll_s: seconds between rounds; after failures twice as long each time, with jitter, up to `max_wait_s`.
        failed: told each error; what it raises itself is logged.
        worked: told each round that did not fail.
        max_wait_s: the longest wait.
        ends: says of an error that going on is of no use; it is raised.
    """
    failures = 0
    while True:
        try:
            step()
            worked()
        except Exception as error:
            if ends(error):
                raise
            failures += 1
            log.exception("round failed, %d in a row; it is tried again", failures)
            try:
                failed(error)
            except Exception:
                log.exception("the failure could not be noted")
        else:
            failures = 0
        if stop.wait(wait_after(failures, poll_s, max_wait_s)):
            return


def wait_after(failures: int, poll_s: float, max_wait_s: float = MAX_WAIT_S) -> float:
    """Seconds until the next round after so many failures in a row."""
    if not failures:
        return poll_s
    longest = max(poll_s, min(max_wait_s, max(poll_s, 0.1) * 2.0 ** min(failures, _DOUBLINGS)))
    return random.uniform(0.5, 1.0) * longest
