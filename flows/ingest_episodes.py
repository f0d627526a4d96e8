"""Drain the robots' inbox: every upload becomes an episode or stands in quarantine, and its robot gets a receipt."""

from collections import Counter

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from components.contracts import IngestSummary

from . import _artifacts as artifacts
from . import _tasks as tasks


@flow(name="ingest-episodes", persist_result=False)
def ingest_episodes() -> State[IngestSummary]:
    """Inspect, check and settle whatever is in the inbox. Doing it twice, or being killed half-way, changes nothing."""
    with tasks.one_at_a_time("ingest-episodes"):  # of two batches judged at once each might admit one of two duplicates
        summary = tasks.ingest_inbox()
    if summary.checks:
        artifacts.show_checks(summary.checks)
    if summary.receipts:
        artifacts.show_name_conflicts(summary)
        artifacts.keep_ingest(summary)
    counts = Counter(receipt.status for receipt in summary.receipts)
    message = (
        f"{counts['accepted']} accepted, {counts['quarantined']} quarantined" if counts else "nothing is in the inbox"
    )
    return Completed(name="Ingested" if counts else "NothingNew", message=message, data=summary)


if __name__ == "__main__":
    ingest_episodes()
