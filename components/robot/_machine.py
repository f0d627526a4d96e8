"""The update agent's states, as a table. Pure: what happened goes in, the next state comes out.

IDLE -> CHECK -> DOWNLOAD -> VERIFY -> STAGE -> BUILD -> SELFTEST -> WAIT_SAFE -> ACTIVATE -> TRIAL -> COMMIT
              -> REJECTED                                                                           -> ROLLBACK
a bad release before ACTIVATE -> QUARANTINE; ROLLBACK -> QUARANTINE; a hindrance -> IDLE, and tried again
a slot that was damaged in TRIAL or COMMIT -> IDLE, stopped, and fetched again
another fingerprint of this device -> BUILD and SELFTEST again, or TRIAL where the release drives already
"""

from collections.abc import Mapping
from typing import Literal

from components.contracts import AgentState

Event = Literal[
    "done",  # the state's work is done
    "nothing",  # no new assignment
    "same",  # the assigned release runs already
    "none",  # the assignment asks for no policy
    "hindered",  # network, metadata, clock, disk: nothing is wrong with the release, so try again later
    "unfit",  # this robot must not take this release
    "bad",  # the release itself failed here
    "wait",  # not safe yet
    "changed",  # the device is not the one on which the release was tested
    "damaged",  # what was activated is not there any more: nothing is wrong with the release
]

_BEFORE_DRIVING: tuple[AgentState, ...] = (
    "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "SELFTEST", "WAIT_SAFE", "ACTIVATE",
)  # fmt: skip

MAX_STARTS = 3
"""Times that BUILD, SELFTEST or TRIAL may be begun for one assignment: a crash loop ends here, offline."""

TRANSITIONS: Mapping[tuple[AgentState, Event], AgentState] = {
    ("IDLE", "done"): "CHECK",
    ("CHECK", "nothing"): "IDLE",
    ("CHECK", "hindered"): "IDLE",
    ("CHECK", "done"): "DOWNLOAD",
    ("CHECK", "same"): "COMMIT",
    ("CHECK", "none"): "WAIT_SAFE",
    ("CHECK", "unfit"): "REJECTED",
    **{(state, "unfit"): "REJECTED" for state in _BEFORE_DRIVING},
    ("SELFTEST", "changed"): "BUILD",
    ("WAIT_SAFE", "changed"): "BUILD",
    ("ACTIVATE", "changed"): "BUILD",
    ("COMMIT", "changed"): "TRIAL",
    ("DOWNLOAD", "done"): "VERIFY",
    ("DOWNLOAD", "hindered"): "IDLE",
    ("VERIFY", "done"): "STAGE",
    ("VERIFY", "hindered"): "IDLE",
    ("VERIFY", "bad"): "QUARANTINE",
    ("STAGE", "done"): "BUILD",
    ("STAGE", "hindered"): "IDLE",
    ("BUILD", "done"): "SELFTEST",
    ("BUILD", "hindered"): "IDLE",
    ("BUILD", "bad"): "QUARANTINE",
    ("SELFTEST", "done"): "WAIT_SAFE",
    ("SELFTEST", "hindered"): "IDLE",
    ("SELFTEST", "bad"): "QUARANTINE",
    ("WAIT_SAFE", "done"): "ACTIVATE",
    ("WAIT_SAFE", "wait"): "WAIT_SAFE",
    ("WAIT_SAFE", "hindered"): "IDLE",
    ("ACTIVATE", "done"): "TRIAL",
    ("ACTIVATE", "hindered"): "IDLE",
    ("TRIAL", "done"): "COMMIT",
    ("TRIAL", "bad"): "ROLLBACK",
    ("TRIAL", "damaged"): "IDLE",
    ("COMMIT", "damaged"): "IDLE",
    ("COMMIT", "done"): "IDLE",
    ("ROLLBACK", "done"): "QUARANTINE",
    ("QUARANTINE", "done"): "IDLE",
    ("REJECTED", "done"): "IDLE",
}


def next_state(state: AgentState, event: Event) -> AgentState:
    """The state that follows.

    Raises:
        KeyError: no such event in that state; a fault of the agent, never of its input.
    """
    return TRANSITIONS[state, event]


def resume(state: AgentState, starts: int) -> AgentState:
    """Where an agent goes on that died in `state`, having begun it `starts` times for this assignment.

    Before activation it begins anew from IDLE: what was downloaded is kept by content, and the metadata is checked
    again. From ACTIVATE on the work is finished, forwards or backwards, without the network.
    """
    if state in {"IDLE", "CHECK", "DOWNLOAD", "VERIFY", "STAGE"}:
        return "IDLE"
    if state in {"BUILD", "SELFTEST"}:
        return "IDLE" if starts < MAX_STARTS else "QUARANTINE"
    if state == "TRIAL":
        return "TRIAL" if starts < MAX_STARTS else "ROLLBACK"
    return state
