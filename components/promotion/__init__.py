"""Gates, the signed release repository (TUF), and rollouts that halt and roll back by themselves.

`decide` says whether a package may go out, by the margins of `GateRules`; `release` signs it and opens its rollout;
`advance` takes one step of every open rollout by what robots report.

What is not covered: keys in hardware or behind a passphrase, signing ceremonies over several machines, soak by
operating hours (it is by trials), two advancers at once, and clearing away old metadata, assignments and reports.
"""

from components.ingest import enrolled_robot, fleet, revoke_robot

from ._advance import (
    abort_rollout,
    advance,
    advance_with,
    find_incumbent,
    keys_folder,
    open_repository,
    release,
    resume_rollout,
    rollout_robots,
    rollouts,
    start_rollout,
)
from ._evidence import Evidence, evidence_of_report, find_evidence, read_rollout
from ._fleet import enrol_robot, show_robot
from ._gate import decide, judge
from ._gate_policy import notes
from ._gate_rules import GateRules
from ._keys import WARNING_FILE, KeyRing, make_demo_keys
from ._reports import Heard, hear
from ._repository import ReleaseRepository
from ._rollback import RobotChange, Rollback, order_rollback, plan_rollback
from ._rollout import Step, begin, demanded_success, plan_rollout, read_plan, standing, step
from ._rotation import rotate_keys
from ._standing import RobotFacts, RobotSheet, explain_robot

__all__ = [
    "WARNING_FILE",
    "Evidence",
    "GateRules",
    "Heard",
    "KeyRing",
    "ReleaseRepository",
    "RobotChange",
    "RobotFacts",
    "RobotSheet",
    "Rollback",
    "Step",
    "abort_rollout",
    "advance",
    "advance_with",
    "begin",
    "decide",
    "demanded_success",
    "enrol_robot",
    "enrolled_robot",
    "evidence_of_report",
    "explain_robot",
    "find_evidence",
    "find_incumbent",
    "fleet",
    "hear",
    "judge",
    "keys_folder",
    "make_demo_keys",
    "notes",
    "open_repository",
    "order_rollback",
    "plan_rollback",
    "plan_rollout",
    "read_plan",
    "read_rollout",
    "release",
    "resume_rollout",
    "revoke_robot",
    "rollout_robots",
    "rollouts",
    "rotate_keys",
    "show_robot",
    "standing",
    "start_rollout",
    "step",
]
