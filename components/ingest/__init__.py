"""Inbox -> verified episode or quarantine, with a receipt.

`inspect_inbox` fetches, hashes, scans and parses, and changes nothing; the checks judge the candidates' summaries;
`settle` does what was decided. Killed anywhere, both are simply called again.

Layout: `inbox/<robot>/<sha256>/<name>.h5` becomes `episodes/<sha256>.h5` with `episodes/<sha256>.json` (EpisodeRecord,
written last: without it there is no episode) or `quarantine/<sha256>/<name>.h5` with `finding.json` (Quarantined), and
`receipts/<robot>/<sha256>.json` (Receipt). `episodes/names/<robot>/<name>.json` holds who bears a name.

Uploads are opened in processes of their own: no environment, four file descriptors, no written byte, capped memory,
processor and wall time (`Limits`). What is quarantined carries the rule that it broke: `bad-key`, `hash-mismatch`,
`unreadable`, `schema`, `wrong-type`, `wrong-shape`, `soft-link`, `external-link`, `external-storage`,
`virtual-dataset`, `filter`, `bomb`, `too-large`, `incomplete`, `robot-mismatch`, `memory`, `timeout`, `worker-killed`,
`name-conflict`, or the name of a check.

What is not covered: a kernel sandbox (seccomp, namespaces) around the parsing process; who may write under which
prefix, which is the store's policy, though a file that names another robot is refused; two runs that settle two files
of one name in the same instant may admit both. Reading all records takes a request an episode.
"""

from ._candidate import Candidate, Quarantined
from ._inspect import inspect_inbox
from ._limits import Limits
from ._settle import quarantined, records, settle
from ._signing import ReceiptKey, receipt_key

__all__ = [
    "Candidate",
    "Limits",
    "Quarantined",
    "ReceiptKey",
    "inspect_inbox",
    "quarantined",
    "receipt_key",
    "records",
    "settle",
]
