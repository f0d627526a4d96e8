"""Uploads start `ingest-episodes`: the gateway posts an event to Prefect, whose trigger (prefect.yaml) runs the flow.

Many uploads are one event, and none is left behind: a run lists the inbox after it has started, so an upload needs a
run that starts later than it. If one waits already, that one will see it; if none does, whether or not one is running
just now, an event asks for the next. While Prefect is away the question stays open, and uploads are accepted as ever.
"""

import logging
import threading
import uuid
from datetime import UTC, datetime, timedelta

import httpx
from pydantic import SecretStr

from ._prefect import basic_auth

log = logging.getLogger(__name__)

EVENT = "drover.inbox.filled"
RESOURCE = "drover.inbox"
FLOW, DEPLOYMENT = "ingest-episodes", "on-upload"
_GAP_S = 5.0
"""Between two events: as long as Prefect may take to make a run of one."""
_SOON = timedelta(seconds=10)
"""A run that is to start within this time counts as waiting; the schedule's later ones do not."""
_LONGEST_WAIT_S = 60.0


class IngestStart(threading.Thread):
    """Asks Prefect for runs of the ingest flow, in the background.

    Args:
        api: Prefect's, e.g. http://127.0.0.1:4200/api; None: there is none, and nothing is asked for.
        auth: Prefect's auth string, `user:password`; None: it asks for none.
        gap_s: at least as long between two events.
    """

    def __init__(self, api: str | None, *, auth: SecretStr | None = None, gap_s: float = _GAP_S) -> None:
        super().__init__(name="ingest-start", daemon=True)
        self._api, self._auth, self._gap_s = api, basic_auth(auth), gap_s
        self._wanted, self._ending = threading.Event(), threading.Event()
        if api:
            self.start()

    def tell(self) -> None:
        """Something waits in the inbox. Returns at once."""
        self._wanted.set()

    def close(self) -> None:
        """End the thread; what was not asked for yet is left to the flow's schedule."""
        self._ending.set()
        self._wanted.set()
        if self.is_alive():
            self.join(10.0)

    def run(self) -> None:
        failures = 0
        with httpx.Client(base_url=str(self._api), auth=self._auth, timeout=5.0) as prefect:
            while True:
                self._wanted.wait()
                if self._ending.is_set():
                    return
                self._wanted.clear()
                try:
                    if not _run_waits(prefect):
                        prefect.get(f"/deployments/name/{FLOW}/{DEPLOYMENT}").raise_for_status()  # who would listen
                        _post(prefect)
                    failures = 0
                except Exception as error:  # noqa: BLE001  # whatever it answers, the next upload asks again
                    failures += 1
                    self._wanted.set()
                    if failures == 1:
                        log.warning("%s cannot start %s now (%s): asked again", self._api, FLOW, type(error).__name__)
                self._ending.wait(min(self._gap_s * 2.0 ** min(failures, 5), max(self._gap_s, _LONGEST_WAIT_S)))


def _run_waits(prefect: httpx.Client) -> bool:
    """Whether a run of the flow is about to start, so that it has not looked into the inbox yet."""
    wanted = {
        "flows": {"name": {"any_": [FLOW]}},
        "flow_runs": {
            "state": {"type": {"any_": ["SCHEDULED", "PENDING"]}},
            "expected_start_time": {"before_": (datetime.now(UTC) + _SOON).isoformat()},
        },
    }
    answer = prefect.post("/flow_runs/count", json=wanted)
    answer.raise_for_status()
    return int(answer.json()) > 0


def _post(prefect: httpx.Client) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": RESOURCE},
    }
    prefect.post("/events", json=[event]).raise_for_status()
