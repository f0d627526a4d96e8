"""Inbox -> verified episode or quarantine, with a receipt.

`inspect_inbox` fetches, hashes, scans and parses, and settles nothing; the checks judge the candidates' summaries;
`settle` does what was decided. Killed anywhere, both are simply called again.

Layout: `inbox/<robot>/<sha256>/<name>.h5` becomes `episodes/<sha256>.h5` with `episodes/<sha256>.json` (EpisodeRecord,
written last: without it there is no episode) or `quarantine/<sha256>/<name>.h5` with `finding.json` (Quarantined), and
`receipts/<robot>/<sha256>.json` (SignedReceipt): never before the stored copy was read back and hashed. What fails
concerns one object alone; one that cannot be read is counted in `quarantine/unreadable/` and set aside after some runs,
so that its robot sends it again. `episodes/names/<robot>/<name>.json*` holds who bears a name: of two files of one name
one is admitted, however many settle them at once; the other is kept in quarantine, with an alarm in the log.
`inspect_quarantine` and `settle` replay what stands there by today's rules; `release` admits by a person's word what
broke a check. `episodes/pages/` saves requests to whoever reads all `records`.

Uploads are opened in processes of their own: no environment, four file descriptors, a short list of system calls (no
socket, no process, nothing written), capped memory, processor and wall time (`Limits`). What is quarantined carries the
rule that it broke: `bad-key`, `hash-mismatch`, `unreadable`, `schema`, `wrong-type`, `wrong-shape`, `soft-link`,
`external-link`, `external-storage`, `virtual-dataset`, `filter`, `bomb`, `too-large`, `incomplete`, `robot-mismatch`,
`memory`, `timeout`, `worker-killed`, `inspection-failed`, `unjudged`, `name-conflict`, or the name of a check.

`gateway_app` is the upload gateway: robots enrol there with a one-time token (`invite_robot`) and sign every request,
this one too, with their own key, which no other robot may have. It makes the keys in the inbox itself, hands out links
to single parts, and remembers nothing but the tokens of the last minutes: what is open, the store knows. Robots'
reports go the same way and are written once (`accept_report`). `models/fleet/<robot>.json` says whose key counts
(`register_robot`, `revoke_robot`), for uploads and for updates alike.

What is not covered, gateway: TLS (put it behind a proxy that ends it, beyond one machine); a part link holds until it
expires, for any bytes of its length, and SeaweedFS keeps every sending of a part until the upload ends; uploads that
nobody completes are dropped after two days, by whoever calls `drop_abandoned_uploads`; a rotated receipt key reaches
enrolled robots only when they enrol anew; a request that a robot signed may be repeated within a minute at another
gateway process.

What is not covered: a store that loses bytes after they were read back; reading from the parsing process (whatever the
platform's user may read can be opened there, and could leave as an episode's name or instruction): run the platform as
a user of its own; kernels without seccomp, where the log says so; who may write under which prefix, which is the
store's policy, though a file that names another robot is refused; two runs at once that each judge one of two alike
episodes, since the checks see one batch: give the flow a concurrency limit of one.
"""

from ._candidate import Candidate, Quarantined
from ._enrol_here import enrol_here
from ._gateway import GatewayLimits, gateway_app
from ._inspect import inspect_inbox
from ._invitations import invite_robot, revoke_robot
from ._limits import Limits
from ._quarantine import inspect_quarantine, quarantined, release
from ._quota import UploadLimits, drop_abandoned_uploads
from ._records import records
from ._registry import (
    enrolled_robot,
    fleet,
    index_keys,
    publish_receipt_key,
    read_fleet,
    register_robot,
)
from ._reports import accept_report
from ._settle import settle
from ._signing import ReceiptKey, receipt_key
from ._unreadable import UnreadableUpload, unreadable

__all__ = [
    "Candidate",
    "GatewayLimits",
    "Limits",
    "Quarantined",
    "ReceiptKey",
    "UnreadableUpload",
    "UploadLimits",
    "accept_report",
    "drop_abandoned_uploads",
    "enrol_here",
    "enrolled_robot",
    "fleet",
    "gateway_app",
    "index_keys",
    "inspect_inbox",
    "inspect_quarantine",
    "invite_robot",
    "publish_receipt_key",
    "quarantined",
    "read_fleet",
    "receipt_key",
    "records",
    "register_robot",
    "release",
    "revoke_robot",
    "settle",
    "unreadable",
]
