"""One episode bears a name: who has it is decided by conditional writes alone, whoever is killed and when.

`episodes/names/<robot>/<name>.json` is the first claim, `....json.1` the next one, and so on: each is written once. A
claim ends once, too (`....json.<n>.end`): `admitted` by its holder, just before the episode is admitted, or
`abandoned` by whoever finds that the holder's upload is gone. So a holder that was only slow learns of it in time.
"""

import logging
from itertools import count
from typing import Literal

from components.contracts import Frozen, Sha256
from components.contracts.errors import AlreadyExistsError, InvalidDocumentError, ObjectNotFoundError
from components.storage import ObjectStore

from ._candidate import Candidate
from ._records import find_record, records

_LOG = logging.getLogger(__name__)


class NameClaim(Frozen):
    """The one episode that may bear a name."""

    sha256: Sha256


class ClaimEnd(Frozen):
    """What became of a claim."""

    outcome: Literal["admitted", "abandoned"]


def keep_name(store: ObjectStore, candidate: Candidate, key: str) -> Sha256:
    """Make the claim at `key` final, just before the candidate is admitted.

    Returns:
        The holder: another one if the claim was taken over meanwhile; then the candidate must not be admitted.
    """
    holder = candidate.sha256
    while holder == candidate.sha256 and _end(store, key, "admitted", holder) != "admitted":
        key, holder = claim_name(store, candidate)
    return holder


def claim_name(store: ObjectStore, candidate: Candidate) -> tuple[str, Sha256]:
    """Claim the candidate's name, or say who has it.

    Returns:
        The claim's key, and the holder: the candidate's own SHA-256 if it may be admitted.
    """
    first = f"names/{candidate.robot}/{candidate.name}.json"
    for number in count():
        key = f"{first}.{number}" if number else first
        try:
            store.put("episodes", key, NameClaim(sha256=candidate.sha256).canonical_json(), if_absent=True)
        except AlreadyExistsError:
            holder = _holder(store, key, candidate)
            if holder is None:
                continue
            outcome = _outcome(store, key, holder)
            if outcome is None and holder != candidate.sha256 and not _waits(store, candidate, holder):
                outcome = _end(store, key, "abandoned", holder)
            if outcome == "abandoned":
                continue
            return key, holder
        else:
            return key, candidate.sha256
    raise AssertionError


def _holder(store: ObjectStore, key: str, candidate: Candidate) -> Sha256 | None:
    """Of a claim. Of a damaged one, the episode that was admitted with this name; None if there is none."""
    try:
        return NameClaim.parse(store.get("episodes", key), source=f"s3://episodes/{key}").sha256
    except InvalidDocumentError as error:
        _LOG.error("ALARM store: %s; the next claim counts", error)
        summaries = (record.summary for record in records(store, leave_out_damaged=True))
        name = candidate.robot, candidate.name
        return next((item.sha256 for item in summaries if (item.robot, item.name) == name), None)


def _waits(store: ObjectStore, candidate: Candidate, holder: Sha256) -> bool:
    """The holder is an episode, or will be judged: the upload that it claimed the name for is still in the inbox."""
    return find_record(store, holder) is not None or any(store.list("inbox", f"{candidate.robot}/{holder}/"))


def _end(store: ObjectStore, key: str, outcome: Literal["admitted", "abandoned"], holder: Sha256) -> str:
    """End a claim, unless it has ended: returns how."""
    try:
        store.put("episodes", f"{key}.end", ClaimEnd(outcome=outcome).canonical_json(), if_absent=True)
    except AlreadyExistsError:
        return _outcome(store, key, holder) or outcome
    return outcome


def _outcome(store: ObjectStore, key: str, holder: Sha256) -> str | None:
    try:
        return ClaimEnd.parse(store.get("episodes", f"{key}.end"), source=f"s3://episodes/{key}.end").outcome
    except ObjectNotFoundError:
        return None
    except InvalidDocumentError as error:  # then its holder is an episode, or claims the name anew
        _LOG.error("ALARM store: %s; the episode's record decides", error)
        return "admitted" if find_record(store, holder) else "abandoned"
